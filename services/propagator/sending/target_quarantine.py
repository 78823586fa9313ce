"""Targets that the tool does not know. Only their own pushes wait, in the index, until a person has mended them: a
group that was deleted in a web page must not hold up the revocations of the others.

A target that the tool no longer reports as unknown is on probation: one push tries it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from enum import Enum

from propagator.timing import TARGET_CHECK_SECONDS

log = logging.getLogger(__name__)


class _Stage(Enum):
    HELD = "held"
    ON_PROBATION = "on probation"
    PROBING = "probing"


class TargetQuarantine:
    """One destination's. `clock` gives monotonic seconds."""

    def __init__(self, destination: str, *, clock: Callable[[], float]) -> None:
        self._destination = destination
        self._clock = clock
        self._stages: dict[str, _Stage] = {}
        self._check_at = 0.0

    def __len__(self) -> int:
        return len(self._stages)

    @property
    def closed_targets(self) -> frozenset[str]:
        """Targets of which no push may start now."""
        return frozenset(target for target, stage in self._stages.items() if stage is not _Stage.ON_PROBATION)

    def is_closed(self, target: str) -> bool:
        """Whether no push of the target may start now."""
        return bool(self._stages) and self._stages.get(target, _Stage.ON_PROBATION) is not _Stage.ON_PROBATION

    def quarantine(self, fixes: Mapping[str, str]) -> None:
        """Nothing more goes to these targets until they are mended. `fixes`: what a person has to do for each."""
        for target, fix in fixes.items():
            self._report(target, fix)
            if not self._stages:
                self._check_at = self._clock() + TARGET_CHECK_SECONDS
            self._stages[target] = _Stage.HELD

    def started(self, target: str) -> None:
        """A push of the target is in a call; of one on probation it is the only one."""
        if target in self._stages:
            self._stages[target] = _Stage.PROBING

    def ended_without_answer(self, target: str) -> None:
        """The call answered nothing about the target: another push may try it."""
        if self._stages.get(target) is _Stage.PROBING:
            self._stages[target] = _Stage.ON_PROBATION

    def release(self, target: str) -> bool:
        """The target takes pushes. Whether it was quarantined: its pushes are then to be read from the index."""
        if not self._stages or self._stages.pop(target, None) is None:
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
        mended = [target for target, stage in self._stages.items() if stage is _Stage.HELD and target not in unknown]
        self._stages.update(dict.fromkeys(mended, _Stage.ON_PROBATION))
        return bool(mended)

    def _report(self, target: str, fix: str) -> None:
        log.error(
            "target refused by the destination until a person acts",
            extra={"destination": self._destination, "target": target, "why": fix},
        )
