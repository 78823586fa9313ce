"""How far one partition of a topic has been read."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """The offset to read next. The id distinguishes a topic from a later one of the same name."""

    topic_id: str
    offset: int
