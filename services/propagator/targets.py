"""Targets that the tool does not know, and the steps that wait until a person has mended them.

Only they wait: a group that was deleted in a web page must not hold up the revocations of the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from propagator.backlog import Backlog, Step
from propagator.connector import SUPPRESS
from propagator.timers import Timers
from propagator.verification import Verification

log = logging.getLogger(__name__)

CHECK_SECONDS = 30.0
MOST_PARKED = 20_000
"""Steps that are parked for a wrong target, so that their chunks may go on. More than that wait in their chunks: an
operator's mistake must not fill the memory."""


@dataclass(slots=True)
class _Hold:
    reason: str
    steps: dict[Step, None] = field(default_factory=dict)
    """Those that wait, in order."""
    parked: set[Step] = field(default_factory=set)
    """Those that were parked for this."""


class Targets:
    """One destination's. `enqueue` takes a step that may go, or that has to be parked first."""

    def __init__(
        self,
        destination: str,
        verification: Verification,
        backlog: Backlog,
        timers: Timers,
        *,
        enqueue: Callable[[Step], None],
        clock: Callable[[], float],
    ) -> None:
        self._destination = destination
        self._verification = verification
        self._backlog = backlog
        self._timers = timers
        self._enqueue = enqueue
        self._clock = clock
        self._wrong: dict[str, _Hold] = {}
        self._check_at = 0.0

    @property
    def any_wrong(self) -> bool:
        return bool(self._wrong)

    @property
    def waiting(self) -> int:
        return sum(len(hold.steps) for hold in self._wrong.values())

    def is_wrong(self, target: str) -> bool:
        return target in self._wrong

    def keep(self, step: Step) -> str | None:
        """Let the step wait; or the reason why it is to be parked: the first time, while there is room."""
        hold = self._wrong[step.wanted.target]
        if step.parked or step.repeat or len(hold.parked) >= MOST_PARKED:
            hold.steps[step] = None
            return None
        hold.parked.add(step)
        return hold.reason

    def hold(self, reason: str, cures: Mapping[str, str]) -> None:
        """Nothing more goes to these targets until they are mended; what waits for them steps aside."""
        for target, cure in cures.items():
            if target in self._wrong:
                continue
            self._report(target, cure)
            if not self._wrong:
                self._check_at = self._clock() + CHECK_SECONDS
            self._wrong[target] = _Hold(reason)
            for step in self._backlog.withdraw(target):
                self._enqueue(step)

    def mended(self, target: str) -> None:
        """The target takes pushes again: all that has waited for it goes, in batches as large as ever."""
        hold = self._wrong.pop(target, None)
        if hold is None:
            return
        log.info("target works again", extra={"destination": self._destination, "target": target})
        for step in hold.parked:
            step.parked = False
        for step in hold.steps:
            self._enqueue(step)
        self._timers.release(hold.parked.__contains__)

    def check_due(self) -> bool:
        """Whether `check` is to be called; True once for each time."""
        if not self._wrong or self._clock() < self._check_at:
            return False
        self._check_at = self._clock() + CHECK_SECONDS
        return True

    async def check(self) -> None:
        """Ask the tool; a target that it does not speak against is tried with one step."""
        cures = await self._verification.again()
        if cures is None:
            return
        self.hold("wrong_target", cures)
        for target, hold in list(self._wrong.items()):
            if target in cures:
                self._report(target, cures[target])
                continue
            # At least one of those that are parked for it waits here from now on, and not for its own moment.
            self._timers.release(hold.parked.__contains__, most=1)
            if (step := _probe(hold)) is not None:
                self._backlog.add(step, self._clock())
            else:
                self.mended(target)

    def _report(self, target: str, cure: str) -> None:
        log.error(
            "target refused by the destination until a person acts",
            extra={"destination": self._destination, "target": target, "why": cure},
        )


def _probe(hold: _Hold) -> Step | None:
    """One step to try the target with, a revocation if there is one. It no longer waits."""
    hold.steps = {step: None for step in hold.steps if not step.cancelled}
    hold.parked = {step for step in hold.parked if not step.cancelled}
    found = min(hold.steps, key=lambda each: each.wanted.action != SUPPRESS, default=None)
    if found is not None:
        del hold.steps[found]
    return found
