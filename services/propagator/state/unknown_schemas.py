"""How long an entry waits for a schema that the registry does not know."""

from __future__ import annotations

from collections.abc import Callable

from consent_service.clock import elapsed_micros, now_micros

WAIT_MICROS = 300_000_000
"""Of a registry that answers. One that is being restored, or is one of several, may know the schema by then."""

_QUIET_MICROS = 60_000_000
"""Entries that wait are tried every few seconds: after a longer pause nothing is known of the time before it."""


class UnknownSchemas:
    """An entry's schema is registered before the entry is written. If the registry does not know it for
    `WAIT_MICROS`, although it answers, the merge has not written that entry. For several threads."""

    def __init__(self, *, clock: Callable[[], int] = now_micros, elapsed: Callable[[], int] = elapsed_micros) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._answers_since: int | None = None
        self._last_answer = 0

    def may_wait(self, append_time: int) -> bool:
        """The registry has answered that it does not know the schema of an entry, appended then (micros)."""
        elapsed = self._elapsed()
        since = self._answers_since
        if since is None or elapsed - self._last_answer > _QUIET_MICROS:
            self._answers_since = since = elapsed
        self._last_answer = elapsed
        return min(elapsed - since, self._clock() - append_time) < WAIT_MICROS

    def no_answer(self) -> None:
        """The registry has not answered: waiting begins again."""
        self._answers_since = None
