"""How a long download shows itself: a bar on a terminal, a line every ten percent elsewhere."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Download(Protocol):
    """Receives the size of each piece that came in, from any thread."""

    def advance(self, count: int) -> None: ...


@contextmanager
def download_progress(what: str, total: int) -> Iterator[Download]:
    """Shows the progress of `total` bytes on standard error while the block runs."""
    if not sys.stderr.isatty():
        yield _Lines(what, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, progress.add_task(f"downloading {what}", total=total))


class _Bar:
    def __init__(self, progress: object, task: object) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: int) -> None:
        self._progress.advance(self._task, count)  # type: ignore[attr-defined]


class _Lines:
    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._done, self._tenths = 0, 0
        self._lock = threading.Lock()
        print(f"downloading {what}: {total / 1e6:.0f} MB", file=sys.stderr, flush=True)

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            tenths = 10 * self._done // max(self._total, 1)
            if tenths > self._tenths:
                self._tenths = tenths
                print(f"downloading {self._what}: {10 * tenths} %", file=sys.stderr, flush=True)
