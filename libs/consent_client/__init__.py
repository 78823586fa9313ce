"""The suppression list inside a channel tool's own process: a SuppressionView per channel, a Checker on it."""

from consent_client.checker import Answer, Checker
from consent_client.view import SuppressionView, ViewState

__all__ = ["Answer", "Checker", "SuppressionView", "ViewState"]
