"""What `consent-relay scrub` does with its words: opens file and list, divides, and says how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from consent_client import ListNotReadyError, SuppressionList
from consent_client.answers import Policy
from consent_privacy.address_file.csv_file import CsvFile
from consent_privacy.address_file.opening import find_column
from consent_privacy.errors import FileNotReadableError
from consent_service.settings import KeyringSettings
from consent_service.terminal import shown
from suppression.scrub.divide import Result, divide

_LOOK_SECONDS = 2.0
_TERMINAL_SECONDS, _LOG_SECONDS = 0.5, 10.0
"""Between two lines of progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScrubRequest:
    """The words of the command."""

    file: Path
    channel: str
    purpose: str
    column: str | None
    header: bool
    encoding: str | None
    delimiter: str | None
    allowed: Path | None
    removed: Path | None
    replace: bool
    tenant: str | None
    registers: Path | None
    unknown: Policy
    wait_seconds: float


def run(request: ScrubRequest, settings: KeyringSettings) -> None:
    """Divide the file. Raises FileNotReadableError, the errors of a list, and OSError: then there is no result."""
    source = CsvFile.look_at(request.file, encoding=request.encoding, delimiter=request.delimiter)
    allowed, removed = _targets(request)
    column = find_column(
        source,
        stated=request.column,
        header=request.header,
        channel=request.channel,
        region=settings.default_region,
    )
    sys.stderr.write(
        shown(f"{request.file}: {request.channel} addresses in column {column.shown}, {column.how}") + "\n"
    )
    with (
        _Progress(request.file.stat().st_size) as progress,
        SuppressionList.open(
            settings.kafka,
            settings.registry,
            settings.keyring_file,
            channel=request.channel,
            tenant=request.tenant,
            topic_prefix=settings.topic_prefix,
            default_region=settings.default_region,
            unknown=request.unknown,
            ready_seconds=0,
            registers_file=request.registers,
            kafka_client=settings.kafka_client,
            registry_client=settings.registry_client,
        ) as list_,
    ):
        _wait(list_, request.wait_seconds, progress)
        result = divide(
            column,
            list_,
            purpose=request.purpose,
            allowed=allowed,
            removed=removed,
            on_portion=progress.portion,
        )
        progress.end(result)
    sys.stdout.write("".join(f"{line}\n" for line in _report(result, allowed, removed)))


def _targets(request: ScrubRequest) -> tuple[Path, Path]:
    """Where the result goes. Raises FileNotReadableError where something is there already; an earlier result is
    removed at once if it is to be replaced, so that it is not taken for one of this run."""
    allowed, removed = (
        given or request.file.with_name(f"{request.file.stem}.{name}{request.file.suffix}")
        for given, name in ((request.allowed, "allowed"), (request.removed, "removed"))
    )
    if len({each.resolve() for each in (allowed, removed, request.file)}) < 3:
        raise FileNotReadableError("the file and its two results must be three files")
    for each in (allowed, removed):
        if not request.replace and each.exists():
            raise FileNotReadableError(f"{each} exists: name another file, or state --replace")
        each.unlink(missing_ok=True)
    return allowed, removed


def _wait(list_: SuppressionList, seconds: float, progress: _Progress) -> None:
    """Until the list has all that was acknowledged before now. Raises ListNotReadyError."""
    began = time.monotonic()
    while True:
        left = seconds - (time.monotonic() - began)
        reason = "it has not reached the moment of this start"
        try:
            list_.wait_ready(min(_LOOK_SECONDS, max(left, 0.0)))
        except ListNotReadyError as error:
            reason = error.reason
        state, elapsed = list_.state, time.monotonic() - began
        if state.usable and state.age_seconds is not None and state.age_seconds <= elapsed:
            return
        if elapsed >= seconds:
            raise ListNotReadyError(reason)
        progress.now_and_then(f"reading the list: {state.entries:,} entries, {reason}")
        time.sleep(min(0.2, max(seconds - elapsed, 0.0)))


def _report(result: Result, allowed: Path, removed: Path) -> list[str]:
    width = len(f"{result.records:,}")
    lines = [
        f"allowed  {result.allowed:>{width},}  {allowed}",
        f"removed  {result.removed:>{width},}  {removed}",
        *(f"         {count:>{width},}  {reason}" for reason, count in result.reasons.most_common()),
    ]
    if result.as_of is not None:
        moment = datetime.fromtimestamp(result.as_of / 1_000_000, UTC)
        lines.append(
            f"Every decision acknowledged before {moment:%Y-%m-%d %H:%M:%S} UTC is considered. People withdraw"
            " meanwhile: scrub again before a later sending."
        )
    return lines


class _Progress:
    """Lines on standard error: one that is written over on a terminal, one now and then elsewhere."""

    def __init__(self, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._terminal = sys.stderr.isatty()
        self._pause = _TERMINAL_SECONDS if self._terminal else _LOG_SECONDS
        self._began = clock()
        self._next = self._began + self._pause
        self._open = False
        """Whether the last line has no end yet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            sys.stderr.write("\n")

    def line(self, text: str) -> None:
        over = "\r\x1b[K" if self._terminal else ""
        end = "" if self._terminal else "\n"
        sys.stderr.write(f"{over}{text}{end}")
        sys.stderr.flush()
        self._open = self._terminal

    def now_and_then(self, text: str) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + self._pause
            self.line(text)

    def portion(self, result: Result) -> None:
        self.now_and_then(self._text(result))

    def end(self, result: Result) -> None:
        self.line(self._text(result))

    def _text(self, result: Result) -> str:
        share = min(100, 100 * result.read // max(self._size, 1)) if result.records else 100
        return (
            f"{share} %  {result.records:,} lines: {result.allowed:,} allowed, {result.removed:,} removed, in"
            f" {self._clock() - self._began:.0f} s"
        )
