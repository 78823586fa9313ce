"""Permissions that the tool may still carry out, on top of the "no" that has replaced them.

A call that ended without an answer (timed out, cut, nonsense) may be under way in the tool all the same, and end after
what it was told next. A call of the partition's previous owner may, too. So whatever is told while an older "yes" may
still land is told once more when it no longer may.
"""

from __future__ import annotations

from collections.abc import Callable

OWN = 2.0
"""A tool is done with a call after this many times the time we wait for its answer, counted from when we gave up."""
INHERITED = 3.0
"""The same for a predecessor's call, counted from our assignment: it may have begun its last one just before."""
SKEW = 2_000_000
"""Micros by which the clocks of two machines may differ."""


class LateYes:
    """One partition's, from its assignment on. Moments by `clock`, the loop's."""

    def __init__(self, *, timeout_seconds: float, clock: Callable[[], float], assigned_at: int) -> None:
        """`assigned_at` in micros since the epoch."""
        self._assigned_at = assigned_at
        self._clock = clock
        self._patience = OWN * timeout_seconds
        self._inherited_until = clock() + INHERITED * timeout_seconds
        self._own: dict[str, dict[str, float]] = {}
        self._inherited: dict[str, set[str]] = {}
        self._sweep_at = self._inherited_until

    def unanswered(self, address_key: str, target: str) -> None:
        """A call of ours that said "yes" has ended without an answer."""
        self._own.setdefault(address_key, {})[target] = self._clock() + self._patience

    def unknown(self, address_key: str, target: str, *, written_at: int) -> None:
        """An entry is read here that asks for a "yes", or may have. The previous owner may have begun to tell it, if it
        was written in its time."""
        if self._clock() < self._inherited_until and self.told_before(written_at) is not None:
            self._inherited.setdefault(address_key, set()).add(target)

    def told_before(self, written_at: int) -> int | None:
        """The moment of the assignment, when an entry was written before it: a predecessor may have told it."""
        return self._assigned_at if written_at <= self._assigned_at + SKEW else None

    def until(self, address_key: str, target: str) -> float | None:
        """Until when a "yes" may land there on top of whatever is told now."""
        latest = self._own.get(address_key, {}).get(target, 0.0)
        if target in self._inherited.get(address_key, ()):
            latest = max(latest, self._inherited_until)
        return latest if latest > self._clock() else None

    def pending(self, address_key: str) -> bool:
        """Whether any target of the address may still hear a late "yes"."""
        targets = {*self._own.get(address_key, ()), *self._inherited.get(address_key, ())}
        return any(self.until(address_key, target) is not None for target in targets)

    def sweep(self) -> None:
        """Forget what has passed; called often, does something rarely."""
        now = self._clock()
        if now < self._sweep_at:
            return
        self._sweep_at = now + self._patience
        self._inherited.clear()
        self._own = {key: row for key, row in self._own.items() if max(row.values()) > now}
