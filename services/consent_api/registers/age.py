"""How old a register is, and until when it may be relied on. Pure; times in micros."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from consent_api.domain.validation import midnight
from consent_api.registers.declared import Register

DAY_MICROS = 86_400_000_000


class State(StrEnum):
    FRESH = "fresh"
    STALE = "stale"
    NEVER_LOADED = "never loaded"
    CHANGED = "changed since its load"
    """Its addresses are not refused for all that it declares now, or its numbers were read in another region."""
    ENDED = "ended"
    """It is issued no more, and one was loaded that was not too old on its last day: its refusals stay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterAge:
    """``as_of``: when the register was issued that was loaded last; None: none was. ``covered``: that load was for all
    that the register declares now."""

    register: Register
    as_of: int | None
    covered: bool = True

    @property
    def stale_at(self) -> int | None:
        """From when on no one may be contacted on its word. 0 while no load covers it; None: never."""
        if self.as_of is None or not self.covered:
            return 0
        stale_at = self.as_of + self.register.max_age_days * DAY_MICROS
        return None if self._ended is not None and stale_at >= self._ended else stale_at

    def state(self, now: int) -> State:
        if self.as_of is None:
            return State.NEVER_LOADED
        if not self.covered:
            return State.CHANGED
        if self.stale_at is not None and self.stale_at <= now:
            return State.STALE
        return State.ENDED if self._ended is not None and self._ended <= now else State.FRESH

    @property
    def _ended(self) -> int | None:
        ended = self.register.ended
        return None if ended is None else midnight(ended)

    def days(self, now: int) -> float | None:
        """How old it is; None: never loaded."""
        return (now - self.as_of) / DAY_MICROS if self.as_of is not None else None
