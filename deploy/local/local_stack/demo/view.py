"""What is shown while the demo runs: a live table on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

PLAIN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One class of deliveries (live, bulk) to one destination, now. Times in seconds; None: nothing observed yet."""

    destination: str
    delivery_class: str
    delivered: int
    p50: float | None
    p99: float | None
    oldest_pending: float
    backlog: float
    state: str


@dataclass(kw_only=True, slots=True)
class Snapshot:
    """What is shown: mutable, the scenario writes it and the view reads it."""

    phase: str = "starting"
    done: int = 0
    of: int = 1
    accepted: int = 0
    imported: int = 0
    outbox: float = 0.0
    rows: Sequence[Row] = ()
    news: list[str] = field(default_factory=list)


class View(Protocol):
    """Both views are context managers; ``show`` may be called as often as one likes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None: ...


def view(console: Console) -> View:
    """The live table where there is a terminal to draw it on, plain lines where there is none."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class LiveView:
    """Redraws in place. Complete on a terminal of 80 columns and 24 lines."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(snapshot.phase, style="bold"),
            ProgressBar(total=max(snapshot.of, 1), completed=min(snapshot.done, snapshot.of), width=16),
            f"{snapshot.done:,} / {snapshot.of:,}",
        )
        counts = f"accepted {snapshot.accepted:,}, imported {snapshot.imported:,}, outbox {snapshot.outbox:,.0f}"
        news = [Text(f"  {line}", style="yellow") for line in snapshot.news[-6:]]
        self._live.update(Group(head, Text(counts), _table(snapshot), *news))


class PlainView:
    """One line every few seconds and one for each piece of news: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._news_shown = 0
        self._phase = ""
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, snapshot: Snapshot) -> None:
        for line in snapshot.news[self._news_shown :]:
            self._print(line)
        self._news_shown = len(snapshot.news)
        if snapshot.phase == self._phase and time.monotonic() < self._next:
            return
        self._phase, self._next = snapshot.phase, time.monotonic() + PLAIN_SECONDS
        self._print(
            f"{snapshot.phase}: {snapshot.done:,} / {snapshot.of:,}, imported {snapshot.imported:,},"
            f" outbox {snapshot.outbox:,.0f}"
        )
        for row in snapshot.rows:
            self._print(
                f"  {row.destination} {row.delivery_class}: {row.delivered:,} delivered, p50 {seconds(row.p50)},"
                f" p99 {seconds(row.p99)}, oldest pending {_age(row.oldest_pending)}, backlog {row.backlog:,.0f},"
                f" {row.state}"
            )

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def _table(snapshot: Snapshot) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("destination")
    table.add_column("class")
    for name in ("delivered", "p50", "p99", "oldest\npending", "backlog"):
        table.add_column(name, justify="right")
    table.add_column("state")
    for row in snapshot.rows:
        table.add_row(
            row.destination,
            row.delivery_class,
            f"{row.delivered:,}",
            seconds(row.p50),
            seconds(row.p99),
            _age(row.oldest_pending),
            f"{row.backlog:,.0f}",
            Text(row.state, style="green" if row.state == "up" else "red"),
        )
    return table


def _age(value: float) -> str:
    return f"{value:.1f} s" if value else "-"


def seconds(value: float | None) -> str:
    """A latency for people: milliseconds below one second."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
