"""How far one partition of a topic has been read."""

from __future__ import annotations

import msgspec


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The offset to read next. The id distinguishes a topic from a later one of the same name."""

    topic_id: str
    offset: int
