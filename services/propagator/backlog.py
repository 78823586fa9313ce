"""The steps that wait for a call: revocations before permissions, gathered into batches.

A batch goes when it is full, when its oldest step has waited LINGER, or at once when calls are plentiful.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from propagator.connector import PERMIT, SUPPRESS, Action, Push
from propagator.desired import Wanted

LINGER = 0.025


@dataclass(kw_only=True, slots=True, eq=False)
class Step:
    """One target of one address on its way. Mutable: the dispatcher and the owner share it on one event loop."""

    address_key: str
    wanted: Wanted
    build: Callable[[Step], Push]
    """Opens the seal and makes the push; called immediately before a call."""
    owner: object
    attempts: int = 0
    """Calls made so far."""
    strikes: int = 0
    """Failures of its own, the destination being well."""
    seen_successes: int = -1
    """The destination's successes when this step last failed, or was submitted."""
    group_limit: int = 1_000_000
    """The most steps it may share a call with after it was in one that failed."""
    outage: int = 0
    """The outages that had ended when `group_limit` was set: in an outage everything fails, and nothing follows
    from it for the step."""
    parked: bool = False
    repeat: bool = False
    """It was told already and is told once more, after its time."""
    late_until: float | None = None
    """By the loop's clock: until then an older "yes" may land on top of what the last call of this step said."""
    cancelled: bool = False
    flying: bool = False


@dataclass(slots=True)
class _Group:
    steps: deque[Step] = field(default_factory=deque)
    since: float = 0.0


class Backlog:
    """Steps that are due, in groups that may share a call."""

    def __init__(self, *, max_batch: Mapping[Action, int], mixed: bool) -> None:
        self._max_batch = max_batch
        self._mixed = mixed
        self._groups: dict[Action, dict[str, _Group]] = {SUPPRESS: {}, PERMIT: {}}

    def __len__(self) -> int:
        return sum(len(group.steps) for groups in self._groups.values() for group in groups.values())

    def add(self, step: Step, now: float) -> None:
        groups = self._groups[step.wanted.action]
        key = "" if self._mixed else step.wanted.target
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group()
        if not group.steps:
            group.since = now
        group.steps.append(step)

    def has(self, action: Action) -> bool:
        return any(group.steps for group in self._groups[action].values())

    def withdraw(self, target: str) -> list[Step]:
        """Take out every step of the target."""
        found: list[Step] = []
        for groups in self._groups.values():
            for key, group in list(groups.items()):
                found += [step for step in group.steps if step.wanted.target == target]
                group.steps = deque(step for step in group.steps if step.wanted.target != target)
                if not group.steps:
                    del groups[key]
        return found

    def take(
        self,
        now: float,
        *,
        at_once: bool,
        probing: bool,
        outages: int,
        actions: tuple[Action, ...] = (SUPPRESS, PERMIT),
    ) -> list[Step]:
        """The next batch that is due, or nothing. Cancelled steps are dropped on the way.

        `probing`: the last call failed. What was tried least goes first, so that one odd address does not make the
        destination look down.
        """
        for action in actions:
            groups = self._groups[action]
            for key in sorted(groups, key=lambda each: groups[each].since):
                group = groups[key]
                if at_once or len(group.steps) >= self._max_batch[action] or now >= group.since + LINGER:
                    if probing:
                        tried = [step.attempts for step in group.steps]
                        group.steps.rotate(-tried.index(min(tried)))
                    batch = self._batch(group, self._max_batch[action], outages)
                    group.since = now
                    if not group.steps:
                        del groups[key]
                    if batch:
                        return batch
        return []

    def due_in(self, now: float) -> float | None:
        """Seconds until some batch is due even if it is not full; None when nothing waits."""
        waits = [group.since + LINGER - now for groups in self._groups.values() for group in groups.values()]
        return max(0.0, min(waits)) if waits else None

    @staticmethod
    def _batch(group: _Group, size: int, outages: int) -> list[Step]:
        batch: list[Step] = []
        while group.steps and len(batch) < size:
            step = group.steps[0]
            if step.cancelled:
                group.steps.popleft()
                continue
            alone = step.parked or step.strikes >= 2
            limit = 1 if alone else step.group_limit if step.outage == outages else size
            if len(batch) >= limit:
                break
            size = min(size, limit)
            batch.append(group.steps.popleft())
        return batch
