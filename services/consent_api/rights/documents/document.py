"""What a document says, whatever it is rendered as. All texts are in its language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from consent_api.links.theme import Theme
from consent_http.words import Language

Line = tuple[str, str]
"""A label and what it labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing: what it is, its state, and lines about it."""

    title: str
    state: str = ""
    lines: Sequence[Line] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    title: str
    text: str = ""
    items: Sequence[Item] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """``lines``: about whom and when. ``closing``: what the person may do. ``actions``: on a page, labels and where
    they lead; a file that is kept has none."""

    language: Language
    theme: Theme
    title: str
    lead: str
    lines: Sequence[Line] = ()
    sections: Sequence[Section] = field(default=(), repr=False)
    closing: Sequence[str] = ()
    actions: Sequence[Line] = ()
