"""The comparison that the demo ends with."""

from collections import Counter

import pytest
from rich.console import Console

from local_stack.audit import Findings
from local_stack.demo.report import comparison
from local_stack.demo.view import Row

ROWS = [
    Row(
        destination="sendgrid-campaigns",
        delivery_class=delivery_class,
        delivered=12_345,
        p50=0.973,
        p99=29.8,
        oldest_pending=0.0,
        backlog=0.0,
        state="up",
    )
    for delivery_class in ("live", "bulk")
]


@pytest.mark.parametrize("width", [80, 140])
def test_nothing_of_the_comparison_is_cut_off(width: int) -> None:
    console = Console(width=width)
    with console.capture() as captured:
        findings = Findings(matches=Counter({"sendgrid-campaigns": 12_345, "gate": 1_045_880}))
        console.print(comparison(ROWS, findings, down={"sendgrid-campaigns"}))
    text = captured.get()
    assert "…" not in text
    for cell in ("sendgrid-campaigns", "12,345", "1,045,880", "permitted", "suppressed", "973 ms", "29.8 s"):
        assert cell in text
    assert text.count("29.8 s") == 2
    assert text.count("29.8 s*") == 1, "the p99 of a destination that was down is marked"
