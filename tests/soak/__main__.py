"""`make soak`: the whole system under a steady load, and whether memory, handles, threads and latency stay flat."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from local_stack.endpoints import Endpoints
from tests.bench.load import PURPOSE
from tests.bench.page import machine
from tests.bench.running_servers import running_servers
from tests.bench.sandbox_client import SandboxClient
from tests.bench.system import OWN_WEBHOOK, system
from tests.soak.rounds import ACCOUNT, Round, fill_tables, play
from tests.soak.samples import Samples, sampled
from tests.soak.verdicts import TOLERANCES, WARM_UP_SHARE, Verdict, judge

PROCESSES = ("api", "relay", "ingest", "suppression", "gate", "propagator", "lag", "status")
DESTINATION = f"""\
{OWN_WEBHOOK.rstrip()}
    push_permissions: true
    limits: {{{{calls_per_second: 5000, burst: 5000, concurrency: 64}}}}
"""


@click.command()
@click.option("--minutes", type=click.FloatRange(4, 24 * 60), default=10, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(5, 500), default=50, show_default=True, help="Choices a second, half withdrawals."
)
def soak(minutes: float, rate: float) -> None:
    """Run the whole system under a steady load, and report whether anything grows.

    The same people change their minds every 20 s, one request a choice, and a webhook is sent each; the gate is asked
    once a second. Before that 50,000 refusals are imported, so that tables in memory have grown to their limits. Leave
    the machine alone meanwhile. The exit code is 1 where a figure is not flat, a choice did not reach the webhook, or a
    process ended.
    """
    console, load = Console(), os.getloadavg()[0]
    with (
        running_servers(console) as servers,
        system(servers, DESTINATION) as stack,
        closing(SandboxClient.of(stack.endpoints)) as sandbox,
        closing(_gate(stack.endpoints)) as gate,
    ):
        sandbox.answer_at_once(ACCOUNT)
        pids = {name: stack.endpoints.pids[name] for name in PROCESSES}
        with console.status("importing, so that the tables have what they keep in memory"):
            last_call = fill_tables(stack.endpoints, sandbox)
        with_state = {name: f"{stack.endpoints.metrics[name]}/metrics" for name in ("suppression", "propagator")}
        with sampled(pids, with_state, lambda: _check(gate)) as samples:
            began = time.monotonic()
            one = partial(play, stack.endpoints, sandbox, rate=rate)
            rounds = _rounds(console, minutes, one, last_call)
            seconds = time.monotonic() - began
    verdicts = list(judge(samples, rounds, seconds))
    console.print(_table(verdicts))
    _describe(console, samples, rounds, seconds, load)
    if not all(verdict.is_kept for verdict in verdicts):
        raise SystemExit(1)


def _gate(endpoints: Endpoints) -> httpx.Client:
    return httpx.Client(base_url=endpoints.gate, headers={"Authorization": f"Bearer {endpoints.check_key}"}, timeout=10)


def _check(gate: httpx.Client) -> None:
    body = {"channel": "email", "purpose": PURPOSE, "addresses": ["soak-0@example.com"]}
    gate.post("/v1/check", json=body).raise_for_status()


def _rounds(console: Console, minutes: float, one: Callable[..., Round], last_call: int) -> list[Round]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("under load", total=minutes * 60)
        began, rounds = time.monotonic(), list[Round]()
        while time.monotonic() - began < minutes * 60:
            rounds.append(one(number=len(rounds), after=rounds[-1].last_call if rounds else last_call))
            progress.update(task, completed=time.monotonic() - began)
    return rounds


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table("what", "measure", "median", "growth", "at most", "flat")
    for verdict in verdicts:
        tolerance, trend = TOLERANCES[verdict.measure], verdict.trend
        most = max(tolerance.share * trend.median, tolerance.least)
        table.add_row(
            verdict.what,
            verdict.measure,
            f"{_number(trend.median)} {verdict.unit}",
            f"{_number(trend.growth, sign='+')} {verdict.unit}",
            f"{_number(most, sign='+')} {verdict.unit}",
            "yes" if verdict.is_kept else "NO",
            style="" if verdict.is_kept else "bold red",
        )
    return table


def _number(value: float, *, sign: str = "") -> str:
    return f"{value:{sign}.0f}" if abs(value) >= 100 else f"{value:{sign}.3g}"


def _describe(console: Console, samples: Samples, rounds: Sequence[Round], seconds: float, load: float) -> None:
    choices = sum(len(each.answered) for each in rounds)
    lines = (
        f"{choices:,} choices in {seconds / 60:.1f} minutes, each answered 201 and delivered to the webhook;"
        f" {len(samples.checks)} checks",
        f"growth: by the median slope, over the last {1 - WARM_UP_SHARE:.0%} of the time",
        f"{machine()['processor']}; load before: {load:.1f}, at the end: {os.getloadavg()[0]:.1f}",
    )
    for line in lines:
        console.print(line, highlight=False)


if __name__ == "__main__":
    soak()
