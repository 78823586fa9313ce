"""What the demo prints: a preference centre to visit; at the end one decision explained, every decision compared, and
the verdict."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import httpx
from rich.console import Console
from rich.table import Table

from local_stack.audit.compare import Findings
from local_stack.demo.population import Choice
from local_stack.demo.scenario import OUTAGE_OF, OUTAGE_SECONDS, Scenario
from local_stack.demo.view import Row, seconds
from local_stack.endpoints import Endpoints
from local_stack.status_link import status_link

SHOWN = 10


def report(console: Console, scenario: Scenario, findings: Findings, *, waiting: str) -> bool:
    """Print the comparison, and the verdict as its last line. True when there is no difference at all.

    `waiting`: for what the scenario waited in vain. What counts as lost may then be on its way.
    """
    down = {row.destination for row in scenario.snapshot.rows if row.destination.startswith(OUTAGE_OF)}
    console.print(comparison(scenario.snapshot.rows, findings, down=down))
    console.print(
        f"p50, p99: of withdrawals, from our 2xx to the tool's, kill included. *: was down for {OUTAGE_SECONDS:.0f} s",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )
    sent = ", ".join(f"{count:,} {name}" for name, count in scenario.counts().items())
    console.print(f"sent: {sent}", highlight=False, soft_wrap=True)
    delivered = sum(findings.matches.values()) - findings.matches["gate"]
    lost, permitted = findings.count("lost"), findings.count("wrongly_permitted")
    console.print(f"delivered to the tools: {delivered:,} states", highlight=False, soft_wrap=True)
    for each in findings.differences[:SHOWN]:
        console.print(
            f"  {each.kind} at {each.where}: {each.place[1]} {each.asked}: decided {each.expected.reason}"
            f" ({each.expected.decision_id}), found {each.found}",
            highlight=False,
        )
    if waiting:
        console.print(f"not settled, stopped waiting for: {waiting}", style="bold red", highlight=False, soft_wrap=True)
    passed = not waiting and not findings.differences
    absent = "lost or on their way" if waiting else "lost"
    console.print(
        f"{'PASS' if passed else 'FAIL'}  {len(scenario.expected):,} decisions, {lost:,} {absent},"
        f" {permitted:,} wrongly permitted",
        style="bold green" if passed else "bold red",
        highlight=False,
        soft_wrap=True,
    )
    return passed


def comparison(rows: Sequence[Row], findings: Findings, *, down: Collection[str] = ()) -> Table:
    """A row for each destination and one for the gate. Complete on a terminal of 80 columns. The p99 of what was `down`
    is marked."""
    table = Table(
        title="every decision against the state inside every tool",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("\nwhere", min_width=18)
    for above, below in (
        ("as", "decided"),
        ("", "lost"),
        ("wrongly", "permitted"),
        ("wrongly", "suppressed"),
        ("live", "p50"),
        ("live", "p99"),
        ("bulk", "p99"),
    ):
        table.add_column(f"{above}\n{below}", justify="right")
    by_class = {(row.destination, row.delivery_class): row for row in rows}
    for where in [*dict.fromkeys(destination for destination, _ in by_class), "gate"]:
        live, bulk = by_class.get((where, "live")), by_class.get((where, "bulk"))
        table.add_row(
            where,
            f"{findings.matches[where]:,}",
            *(f"{findings.count(kind, where):,}" for kind in ("lost", "wrongly_permitted", "wrongly_suppressed")),
            seconds(live.p50) if live else "",
            f"{seconds(live.p99)}{'*' if where in down and live.p99 is not None else ''}" if live else "",
            seconds(bulk.p99) if bulk else "",
        )
    return table


def visit(console: Console, endpoints: Endpoints) -> None:
    """Print what to look at while the demo runs: the status page, and a preference centre. That is of someone whom
    nothing is compared for, so that a choice made there is no difference."""
    answer = httpx.post(
        f"{endpoints.api}/v1/links",
        headers={"Authorization": f"Bearer {endpoints.api_key}"},
        json={"links": [{"channel": "email", "address": "visitor@example.com", "subject_ref": "visitor"}]},
        timeout=10,
    )
    answer.raise_for_status()
    (links,) = answer.json()["links"]
    console.print(f"what happens now, in a browser: {status_link(endpoints)}", highlight=False, soft_wrap=True)
    console.print(f"a preference centre, while this runs: {links['preferences']}", highlight=False, soft_wrap=True)


def explain(console: Console, endpoints: Endpoints, choice: Choice) -> None:
    """One decision in sentences: what holds, who chose what and when, by which means, and which tools know it."""
    answer = httpx.post(
        f"{endpoints.api}/v1/explain",
        headers={"Authorization": f"Bearer {endpoints.api_key}", "Accept": "text/plain"},
        json={"channel": choice.channel, "address": choice.address, "purpose": _asked(choice)},
        timeout=10,
    )
    answer.raise_for_status()
    console.print(f"why is {choice.address} (not) contactable by {choice.channel} for {_asked(choice)}?", style="bold")
    console.print(answer.text, highlight=False, soft_wrap=True, markup=False)


def _asked(choice: Choice) -> str:
    return "newsletter" if choice.purpose == "*" else choice.purpose
