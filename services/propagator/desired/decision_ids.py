"""Decision ids as a row of the state topic holds them: each of them, or one digest where they are too many for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_DIGEST_PREFIX = "blake2b:"


def compacted(ids: Sequence[str], *, max_characters: int) -> tuple[str, ...]:
    """The ids, or one digest of them where they have more characters together."""
    if sum(map(len, ids)) <= max_characters or _is_digest(ids):
        return tuple(ids)
    return (_digest(ids),)


def matches(held: Sequence[str], ids: Sequence[str]) -> bool:
    """Whether `held`, as a row holds them, are these ids, in whatever order."""
    return held == ids or (held[0] == _digest(ids) if _is_digest(held) else set(held) == set(ids))


def named(held: Sequence[str]) -> tuple[str, ...]:
    """Those that a row names: none where it holds a digest."""
    return () if _is_digest(held) else tuple(held)


def _is_digest(ids: Sequence[str]) -> bool:
    return len(ids) == 1 and ids[0].startswith(_DIGEST_PREFIX)


def _digest(ids: Sequence[str]) -> str:
    joined = "\0".join(sorted(set(ids)))
    return _DIGEST_PREFIX + hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()
