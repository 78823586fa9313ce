"""The shipped rules in less time: every duration divided by one factor. Pure."""

from __future__ import annotations

import re

FACTOR = 30
"""A window of an hour lasts two minutes. Limits that a metric is compared with stay as they are: 60 s are 60 s."""
LEAST_RANGE_SECONDS = 5
"""A rate needs samples within its range; one comes each second."""

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_FOR = re.compile(r"(?<=for: )(\d+)([smhd])\b")
_SINCE_START = re.compile(r"(?<=process_start_time_seconds < )(\d+)")
_RANGE = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])")


def scaled(rules: str, factor: int = FACTOR) -> str:
    """A file of rules with each `for`, each range and each time since a start shorter, in whole seconds, rounded up."""
    shorter = _FOR.sub(lambda found: f"{_shorter(found, factor)}s", rules)
    shorter = _RANGE.sub(lambda found: f"{max(LEAST_RANGE_SECONDS, _shorter(found, factor))}s", shorter)
    return _SINCE_START.sub(lambda found: str(int(found[1]) // factor), shorter)


def _shorter(found: re.Match[str], factor: int) -> int:
    return -(-int(found[1]) * _SECONDS[found[2]] // factor)
