"""The links of a CSV file, line by line: a file of any size in little memory."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from consent_api.errors import AddressFileError, SubmissionInvalidError
from consent_api.links.making import ONE_CLICK_HEADER, LinkMaker, Wanted

ADDED = ("unsubscribe", "list_unsubscribe", "list_unsubscribe_post", "preferences", "error")
_DELIMITERS = ",;\t|"
_LOOK_EVERY = 1_000
_TERMINAL_SECONDS, _LOG_SECONDS = 1.0, 10.0
"""Between two lines of progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    made: int
    refused: int


def write_links(
    maker: LinkMaker,
    tenant: str,
    source: Path,
    target: Path,
    *,
    channel: str | None,
    purpose: str | None,
    report: Callable[[int], None],
) -> Counts:
    """Write ``target``, which appears when it is complete, readable by its owner alone. AddressFileError, OSError,
    NoLinkKeysError."""
    partial = target.with_name(f"{target.name}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with (
            os.fdopen(descriptor, "w", encoding="utf-8", newline="") as written,
            source.open(encoding="utf-8-sig", newline="") as read,
        ):
            counts = _convert(maker, tenant, read, written, channel=channel, purpose=purpose, report=report)
        partial.replace(target)
    except (UnicodeDecodeError, csv.Error):
        raise AddressFileError("it is no CSV in UTF-8") from None
    finally:
        partial.unlink(missing_ok=True)
    return counts


def _convert(
    maker: LinkMaker,
    tenant: str,
    read: Iterator[str],
    written: TextIO,
    *,
    channel: str | None,
    purpose: str | None,
    report: Callable[[int], None],
) -> Counts:
    header = next(read, "")
    delimiter = max(_DELIMITERS, key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    _check(names, channel)
    rows = csv.DictReader(read, names, delimiter=delimiter, restval="")
    output = csv.DictWriter(written, [*names, *ADDED], delimiter=delimiter, extrasaction="ignore")
    output.writeheader()
    made = refused = 0
    reported = time.monotonic()
    for row in rows:
        added = _links(maker, tenant, row, channel=channel, purpose=purpose)
        output.writerow({**row, **added})
        refused, made = refused + ("error" in added), made + ("error" not in added)
        if not (made + refused) % _LOOK_EVERY and time.monotonic() - reported >= _seconds():
            reported = time.monotonic()
            report(made + refused)
    return Counts(made=made, refused=refused)


def _check(names: list[str], channel: str | None) -> None:
    needed = ["address"] if channel is not None else ["address", "channel"]
    missing = [each for each in needed if each not in names]
    if missing:
        raise AddressFileError(f"its first line has no column {' and no column '.join(missing)}")
    if len(set(names)) < len(names) or set(names) & set(ADDED):
        raise AddressFileError(f"its columns need names of their own, other than {', '.join(ADDED)}")


def _links(
    maker: LinkMaker, tenant: str, row: Mapping[str, str], *, channel: str | None, purpose: str | None
) -> dict[str, str | None]:
    wanted = Wanted(
        channel=channel or row.get("channel", ""),
        address=row["address"],
        purpose=purpose or row.get("purpose") or None,
        subject_ref=row.get("subject_ref") or None,
    )
    try:
        made = maker.make(tenant, wanted)
    except SubmissionInvalidError as error:
        return {"error": "; ".join(f"{each.pointer[1:]}: {each.cure}" for each in error.faults)}
    return {
        "unsubscribe": made.unsubscribe,
        "list_unsubscribe": made.list_unsubscribe,
        "list_unsubscribe_post": ONE_CLICK_HEADER if made.unsubscribe is not None else None,
        "preferences": made.preferences,
    }


def _seconds() -> float:
    return _TERMINAL_SECONDS if sys.stderr.isatty() else _LOG_SECONDS
