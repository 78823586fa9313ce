"""A document as PDF, tagged for screen readers, with its fonts within.

No standard such as PDF/UA is claimed: the compiler then refuses a text in a script that the fonts lack (Chinese, say),
and a person gets their data whatever is in it. Such characters show as boxes here, and as they are in HTML."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from importlib.resources import files

import msgspec

from consent_api.rights.documents.document import Document, Item, Line

MEDIA_TYPE = "application/pdf"
_TEMPLATE = files(__package__).joinpath("templates", "document.typ").read_bytes()
_ONE_AT_A_TIME = threading.Lock()
"""A long document takes a second of a processor, and a hundred megabytes."""


_LONG_WORD = re.compile(r"\S{73,}")
"""Longer than a hash, and perhaps than a line: an address of 254 characters, for instance."""
_PART = 36
_MAY_BREAK = "\N{ZERO WIDTH SPACE}"


def breakable(text: str) -> str:
    """A text of which nothing is cut off at the margin: its long words may continue on the next line."""
    return _LONG_WORD.sub(lambda word: _MAY_BREAK.join(re.findall(f".{{1,{_PART}}}", word[0])), text)


def render(document: Document) -> bytes:
    """The texts reach the template as data: nothing in them is read as markup."""
    import typst

    theme = document.theme
    content = {
        "language": document.language,
        "name": theme.name,
        "accent": theme.colours.accent,
        "title": document.title,
        "lead": document.lead,
        "lines": _lines(document.lines),
        "sections": [
            {"title": each.title, "text": each.text, "items": [_item(item) for item in each.items]}
            for each in document.sections
        ],
        "closing": document.closing,
    }
    with _ONE_AT_A_TIME:
        return typst.compile(
            _TEMPLATE,
            format="pdf",
            ignore_system_fonts=True,
            sys_inputs={"content": msgspec.json.encode(content).decode()},
        )


def _item(item: Item) -> dict[str, object]:
    return {"title": breakable(item.title), "state": item.state, "lines": _lines(item.lines)}


def _lines(lines: Iterable[Line]) -> list[Line]:
    return [(breakable(label), breakable(value)) for label, value in lines]
