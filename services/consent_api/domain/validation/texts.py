"""Texts as they are sent."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

from consent_api.errors import InvalidValueError

LONGEST_TEXT = 200
"""Characters of a channel, status or purpose, before anything else is asked of it."""


def bounded(value: object, *, longest: int) -> str:
    """A text of at most ``longest`` characters."""
    if not isinstance(value, str):
        raise InvalidValueError("not_text", "send a text")
    if len(value) > longest:
        raise InvalidValueError("too_long", f"send at most {longest} characters")
    return value


def printable(value: str, *, lines: bool = False) -> str:
    """A text that can be stored and shown: without control characters and halves of surrogates. ``lines``: tabs and
    line ends may stay, since what an agent typed as evidence may have several."""
    kept = "\t\n\r" if lines else ""
    if not value.isprintable() and any(
        unicodedata.category(character) in ("Cc", "Cs") and character not in kept for character in value
    ):
        raise InvalidValueError("control_characters", "send a text without NUL or other control characters")
    return value


def required(value: object, name: str) -> str:
    """The text of a field that no decision can do without."""
    if value is None:
        raise InvalidValueError("missing", f"send {name}")
    return printable(bounded(value, longest=LONGEST_TEXT))


def one_of(value: object, name: str, known: Collection[str]) -> str:
    """A field with a fixed set of values."""
    text = required(value, name)
    if text not in known:
        raise InvalidValueError(f"unknown_{name}", f"send one of {', '.join(sorted(known))}")
    return text
