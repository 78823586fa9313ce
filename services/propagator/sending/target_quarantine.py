"""Targets that take nothing: not known to the tool, full, or refusing whatever is sent. Only their own pushes wait, in
the index, until a person has mended them: a group that was deleted in a web page must not hold up the revocations of
the others. Where only one action is concerned (a full list still lifts), those of the other go on.

A target that the tool no longer reports as unknown is on probation: one push tries it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from enum import Enum

from propagator.desired.model import Action
from propagator.timing import TARGET_CHECK_SECONDS

log = logging.getLogger(__name__)


class _Stage(Enum):
    HELD = "held"
    ON_PROBATION = "on probation"
    PROBING = "probing"


_Held = tuple[str, Action | None]
"""A target, and the action that it does not take; None: either."""


class TargetQuarantine:
    """One destination's. `clock` gives monotonic seconds."""

    def __init__(self, destination: str, *, clock: Callable[[], float]) -> None:
        self._destination = destination
        self._clock = clock
        self._stages: dict[_Held, _Stage] = {}
        self._check_at = 0.0

    def __len__(self) -> int:
        return len({target for target, _ in self._stages})

    def closed_targets(self, action: Action) -> frozenset[str]:
        """Targets of which no push of the action may start now."""
        return frozenset(
            target
            for (target, held), stage in self._stages.items()
            if held in (None, action) and stage is not _Stage.ON_PROBATION
        )

    def is_closed(self, target: str, action: Action) -> bool:
        """Whether no push of the action may start now at the target."""
        return any(self._stages[each] is not _Stage.ON_PROBATION for each in self._holds(target, action))

    def quarantine(self, fixes: Mapping[str, str], *, action: Action | None = None, on_probation: bool = False) -> None:
        """Nothing more goes to these targets until they are mended, or nothing of `action`. `fixes`: what a person has
        to do for each. `on_probation`: one push may try them before the tool is asked."""
        for target, fix in fixes.items():
            self._report(target, fix)
            if not self._stages:
                self._check_at = self._clock() + TARGET_CHECK_SECONDS
            self._stages[target, action] = _Stage.ON_PROBATION if on_probation else _Stage.HELD

    def started(self, target: str, action: Action) -> None:
        """A push is in a call; of a target on probation it is the only one."""
        self._stages.update(dict.fromkeys(self._holds(target, action), _Stage.PROBING))

    def ended_without_answer(self, target: str, action: Action) -> None:
        """The call answered nothing about the target: another push may try it."""
        for each in self._holds(target, action):
            if self._stages[each] is _Stage.PROBING:
                self._stages[each] = _Stage.ON_PROBATION

    def release(self, target: str, action: Action) -> bool:
        """The target takes pushes. Whether it was quarantined: its pushes are then to be read from the index."""
        ended = self._holds(target, action)
        for each in ended:
            del self._stages[each]
        if not ended:
            return False
        log.info("target works again", extra={"destination": self._destination, "target": target})
        return True

    def check_is_due(self) -> bool:
        """Whether the tool is to be asked about the targets; True once for each time."""
        if not self._stages or self._clock() < self._check_at:
            return False
        self._check_at = self._clock() + TARGET_CHECK_SECONDS
        return True

    def checked(self, unknown: Collection[str]) -> bool:
        """The tool was asked: targets that it does not report as unknown may be tried. Whether there are any."""
        mended = [each for each, stage in self._stages.items() if stage is _Stage.HELD and each[0] not in unknown]
        self._stages.update(dict.fromkeys(mended, _Stage.ON_PROBATION))
        return bool(mended)

    def _holds(self, target: str, action: Action) -> list[_Held]:
        """Those that concern such a push."""
        if not self._stages:
            return []
        return [each for each in ((target, None), (target, action)) if each in self._stages]

    def _report(self, target: str, fix: str) -> None:
        log.error(
            "target refused by the destination until a person acts",
            extra={"destination": self._destination, "target": target, "why": fix},
        )
