"""What a counter or gauge holds, where a test has it in hand and not its registry."""

from typing import Any


def value_of(metric: Any) -> float:
    """`metric`: without labels, or what `labels` has returned."""
    (family,) = metric.collect()
    return float(family.samples[0].value)
