"""What the demo shows, and the comparison that it ends with."""

import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from local_stack.audit.compare import Findings
from local_stack.demo.report import comparison
from local_stack.demo.view import Row, Snapshot, view
from local_stack.scrape import over_restart, since

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


def test_nothing_of_the_live_table_is_cut_off_or_wrapped_on_a_terminal_of_80_columns() -> None:
    rows = [replace(each, p99=129.8, oldest_pending=100.0, backlog=22_345.0, state="no answer") for each in ROWS * 5]
    phase = "carrying the first choices to every tool"
    shown = Snapshot(phase=phase, done=10_000, of=10_000, accepted=31_352, imported=20_000, outbox=20_000, rows=rows)
    shown.news += [f"news {n}" for n in range(9)]
    output = io.StringIO()
    with view(Console(file=output, width=80, height=24, force_terminal=True, color_system=None)) as screen:
        screen.show(shown)
    lines = output.getvalue().splitlines()
    assert "…" not in output.getvalue()
    assert any(phase in line and "10,000 / 10,000" in line for line in lines)
    assert any("accepted 31,352, imported 20,000, outbox 20,000" in line for line in lines)
    complete = "sendgrid-campaigns live 12,345 973 ms 129.8 s 100.0 s 22,345 no answer"
    assert complete in [" ".join(line.split()) for line in lines]
    assert any("news 8" in line for line in lines), "the last news fit on 24 lines"


def test_what_a_process_had_observed_is_kept_when_another_counts_from_zero() -> None:
    before, last, now = [(1.0, 10.0), (5.0, 12.0)], [(1.0, 40.0), (5.0, 43.0)], [(1.0, 0.0), (5.0, 6.0)]
    assert since(now, over_restart(before, last, now)) == [(1.0, 30.0), (5.0, 37.0)]
    assert since(last, over_restart(before, before, last)) == [(1.0, 30.0), (5.0, 31.0)]
    assert since(now, over_restart([], last, now)) == [(1.0, 40.0), (5.0, 49.0)]
    assert over_restart(before, last, []) == before, "a process that does not answer"
