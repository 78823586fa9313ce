"""The suppression list inside a channel tool's own process: a SuppressionView per channel, a Checker on it."""

from consent_client.answers import Answer
from consent_client.checker import Checker
from consent_client.timestamps import ResolvedTimestamps
from consent_client.view import SuppressionView, ViewState

__all__ = ["Answer", "Checker", "ResolvedTimestamps", "SuppressionView", "ViewState"]
