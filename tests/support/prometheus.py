"""What the rules and dashboards ask Prometheus for, and what the processes export."""

from __future__ import annotations

import re


def selectors(expression: str) -> list[tuple[str, str]]:
    """The metrics of ours that an expression asks for, each with what is between its braces."""
    return re.findall(r"(?<![:\w])(consent_relay_\w+)(?:\{([^}]*)\})?", expression)


def exported(page: str) -> dict[str, set[str]]:
    """Of docs/metrics.md: each series that the processes export, with its labels."""
    found: dict[str, set[str]] = {}
    for row in re.finditer(r"^\| `(consent_relay_\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE):
        labels = set(re.findall(r"`(\w+)`", row[3]))
        names = [row[1], *(row[1] + suffix for suffix in ("_bucket", "_count", "_sum") if row[2] == "histogram")]
        found |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in names}
    return found
