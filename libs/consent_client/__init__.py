"""The suppression list inside a channel tool's own process: `SuppressionList.open(...)`, then `check` before each
message. Underneath, and at the gate: a SuppressionView per channel, and a Checker on it."""

from consent_client.answers import Answer
from consent_client.checker import Checker
from consent_client.errors import (
    InvalidRegistersError,
    KeyFileError,
    ListNotReadyError,
    ListRefusedError,
    SuppressionListError,
)
from consent_client.suppression_list import AsyncSuppressionList, SuppressionList
from consent_client.timestamps import ResolvedTimestamps
from consent_client.view import SuppressionView, ViewState
from consent_kafka.resolved import StalenessLimits

__all__ = [
    "Answer",
    "AsyncSuppressionList",
    "Checker",
    "InvalidRegistersError",
    "KeyFileError",
    "ListNotReadyError",
    "ListRefusedError",
    "ResolvedTimestamps",
    "StalenessLimits",
    "SuppressionList",
    "SuppressionListError",
    "SuppressionView",
    "ViewState",
]
