"""When it was found that delivered state is gone from Kafka. A local copy proves nothing: it may be older than that."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)


class LostState:
    """Kept in a file, since the tables are cleared at that moment and the fill that follows may be another process's.

    A fill that began later settles it, so the moment is never removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._lost_at = int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            self._lost_at = 0

    @property
    def lost_at(self) -> int:
        """Micros; 0: never."""
        return self._lost_at

    def note(self, now: int, why: str) -> None:
        """Delivered state is lost as of `now`, in micros."""
        log.error("delivered state is lost: everything is sent again as a fill", extra={"why": why})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(str(now), encoding="ascii")
        self._lost_at = now
