"""Divides a file by a list: each record, unchanged, into one of two files that appear once both are complete."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from consent_client import Answer
from consent_privacy.address_file.opening import AddressColumn

REASON = "reason"
"""The name of the column that is added to what is removed."""
_TAKEN = "consent_reason"
"""The name where the file has a column of the other one."""
_PORTION = 1_000
_PLAIN = re.compile(r"[a-z_]{1,40}")


class Checks(Protocol):
    """What is asked of a list. Raises ListNotReadyError where it cannot be answered from."""

    def check(self, addresses: Iterable[str], purpose: str) -> list[Answer]: ...


@dataclass(kw_only=True, slots=True)
class Result:
    """`reasons`: of the records removed. `as_of`: every decision acknowledged before this moment is considered, in
    microseconds; None while nothing was asked. `read`: bytes of the file."""

    allowed: int = 0
    removed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    as_of: int | None = None
    read: int = 0

    @property
    def records(self) -> int:
        return self.allowed + self.removed


def divide(
    column: AddressColumn,
    list_: Checks,
    *,
    purpose: str,
    allowed: Path,
    removed: Path,
    on_portion: Callable[[Result], None],
) -> Result:
    """Writes `allowed` and `removed`, the latter with a column for the reason. Neither is there, not even in part,
    where this raises: ListNotReadyError, FileNotReadableError, OSError."""
    result = Result()
    source, names, columns = column.source, column.names, column.columns
    with ExitStack() as both:
        kept, out = (both.enter_context(_Unfinished(path)) for path in (allowed, removed))
        for each in (kept, out):
            each.file.write(source.prefix)
        records = source.records_and_positions()
        if names is not None:
            first, _ = next(records)
            kept.file.write(source.written(first))
            out.file.write(source.with_field(first, _TAKEN if REASON in names else REASON, columns=columns))
        for portion in _portions(records):
            addresses = [column.address(record) for record, _ in portion]
            for (record, _), answer in zip(portion, list_.check(addresses, purpose), strict=True):
                if answer.permits():
                    result.allowed += 1
                    kept.file.write(source.written(record))
                else:
                    reason = _reason(answer)
                    result.removed += 1
                    result.reasons[reason] += 1
                    out.file.write(source.with_field(record, reason, columns=columns))
                if answer.as_of is not None:
                    result.as_of = min(answer.as_of, result.as_of or answer.as_of)
            result.read = portion[-1][1]
            on_portion(result)
        for each in (out, kept):  # What may be contacted appears last: it is never there without the other.
            each.finish()
    return result


def _portions(records: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    while portion := list(islice(records, _PORTION)):
        yield portion


def _reason(answer: Answer) -> str:
    reason = answer.reason if _PLAIN.fullmatch(answer.reason) else "refused"
    code = (answer.detail or "").partition(":")[0]
    if answer.permitted:
        return "expired"  # Since it was asked.
    return f"{reason} ({code})" if reason == "invalid_address" and _PLAIN.fullmatch(code) else reason


class _Unfinished:
    """A file beside `path`, which becomes it when it is finished. Neither is there after an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._finished = False

    def __enter__(self) -> _Unfinished:
        descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", suffix=".part", dir=self._path.parent)
        self._beside = Path(name)
        self.file: BinaryIO = os.fdopen(descriptor, "wb", buffering=256 * 1024)
        return self

    def finish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self._beside.replace(self._path)
        self._finished = True

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        with suppress(OSError):  # A full disk is what ended it: the rest cannot be flushed either.
            self.file.close()
        self._beside.unlink(missing_ok=True)
        if error is not None and self._finished:
            self._path.unlink(missing_ok=True)
