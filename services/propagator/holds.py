"""Targets that the tool does not know, and the steps that wait until a person has mended them.

Only they wait: a group that was deleted in a web page must not hold up the revocations of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from propagator.backlog import Step
from propagator.connector import SUPPRESS

CHECK_SECONDS = 30.0
MOST_PARKED = 20_000
"""Steps that are parked for a wrong target, so that their chunks may go on. More than that wait in their chunks: an
operator's mistake must not fill the memory."""


@dataclass(slots=True)
class _Hold:
    reason: str
    steps: dict[Step, None] = field(default_factory=dict)
    """Those that wait, in order."""
    aside: set[Step] = field(default_factory=set)
    """Those that were parked for this."""


class Holds:
    """`due` says when they are to be checked again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[str, _Hold] = {}
        self._check_at = 0.0

    def __len__(self) -> int:
        """The steps that wait."""
        return sum(len(hold.steps) for hold in self._held.values())

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._held))

    def __contains__(self, target: str) -> bool:
        return target in self._held

    def begin(self, target: str, reason: str) -> bool:
        """False when it is held already."""
        if target in self._held:
            return False
        if not self._held:
            self.checked()
        self._held[target] = _Hold(reason)
        return True

    def keep(self, step: Step) -> str | None:
        """Let the step wait; or the reason why it is to be parked: the first time, while there is room."""
        hold = self._held[step.wanted.target]
        if step.parked or step.repeat or len(hold.aside) >= MOST_PARKED:
            hold.steps[step] = None
            return None
        hold.aside.add(step)
        return hold.reason

    def probe(self, target: str) -> Step | None:
        """One step to try the target with, a revocation if there is one. It no longer waits."""
        steps = self._held[target].steps
        for step in [each for each in steps if each.cancelled]:
            del steps[step]
        found = min(steps, key=lambda each: each.wanted.action != SUPPRESS, default=None)
        if found is not None:
            del steps[found]
        return found

    def end(self, target: str) -> tuple[list[Step], set[Step]]:
        """The target is well: what waits for it, and all that was parked for it."""
        hold = self._held.pop(target)
        return list(hold.steps), hold.aside

    @property
    def due(self) -> bool:
        return bool(self._held) and self._clock() >= self._check_at

    def checked(self) -> None:
        self._check_at = self._clock() + CHECK_SECONDS
        for hold in self._held.values():
            hold.aside = {step for step in hold.aside if not step.cancelled}
