"""Addresses that exist for one test alone, in the ways people write them, and how to recognise them anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

FULL_WIDTH = str.maketrans("0123456789+", "０１２３４５６７８９＋")
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_BETWEEN_DIGITS = re.compile(rb"[ .()/_\-]|\xc2\xa0|\xe2\x80\xaf|%20|%2B|\+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Marked:
    """``canonical`` is what it means, ``written`` how it is sent, ``traces`` what reveals it, in any form."""

    channel: str
    canonical: str
    written: tuple[str, ...]
    traces: tuple[bytes, ...]


def phone(channel: str, national: str) -> Marked:
    """A French number, given as ten digits."""
    rest = national[1:]
    pairs = [national[i : i + 2] for i in range(0, 10, 2)]
    written = (
        f"+33{rest}",
        f"0033{rest}",
        " ".join(pairs),
        ".".join(pairs),
        "-".join(pairs),
        "\u202f".join(pairs),
        f"+33 (0){rest[0]} {' '.join(pairs[1:])}",
        national.translate(FULL_WIDTH),
        f"+33{rest}".translate(ARABIC),
    )
    traces = (rest.encode(), rest.translate(FULL_WIDTH).encode(), rest.translate(ARABIC).encode())
    return Marked(channel=channel, canonical=f"+33{rest}", written=written, traces=traces)


def email(local: str) -> Marked:
    """At example.com; the local part alone reveals it."""
    address = f"{local}@example.com"
    written = (address, address.upper(), f"  {address} ", f"{local}@EXAMPLE.com", address.title())
    return Marked(channel="email", canonical=address, written=written, traces=(local.encode(),))


def found_in(content: bytes, all_marked: Iterable[Marked]) -> list[str]:
    """The canonical forms of those that ``content`` reveals, however they are written."""
    lowered = content.lower()
    squeezed = _BETWEEN_DIGITS.sub(b"", lowered)
    return [
        each.canonical for each in all_marked if any(trace in lowered or trace in squeezed for trace in each.traces)
    ]
