"""One address's newest entry on its way to a destination, and the receipts that follow from its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from propagator.backlog import Step
from propagator.connector import PERMIT, SUPPRESS, Accepted, Action, Refused
from propagator.owed import owed_since
from propagator.receipts import Receipt, Stage


@dataclass(kw_only=True, slots=True)
class Settlement:
    """Counts what is unfinished of one chunk; the last `release` acknowledges it."""

    acknowledge: Callable[[], None]
    beat: Callable[[], None]
    """Says that the chunk does not hang."""
    held: int = 1

    def hold(self) -> Settlement:
        self.held += 1
        return self

    def release(self) -> None:
        self.held -= 1
        if self.held == 0:
            self.acknowledge()


@dataclass(kw_only=True, slots=True, eq=False)
class Work:
    """Everything one entry asks of the destination. Times in micros."""

    tenant: str
    address_key: str
    version: int
    sealed: bytes | None
    entry: bytes
    """The framed SuppressionEntry, for parking."""
    written_at: int
    queued_at: int
    settlements: list[Settlement]
    """Of the chunks that wait for this; empty once it is durable elsewhere: told and proved, or parked."""
    open: dict[str, Step] = field(default_factory=dict)
    """By target: waiting, in flight, or stuck."""
    stuck: dict[str, str] = field(default_factory=dict)
    """Open targets that only parking helps, with the reason."""
    landed: list[tuple[Step, Accepted | Refused]] = field(default_factory=list)
    dropped: set[Action] = field(default_factory=set)
    """Actions of which a step was given up for a newer entry: they get no receipt."""
    queued_told: bool = False
    parked_rounds: int = 0
    first_failed_at: int | None = None
    superseded: bool = False
    concluding: bool = False
    done: bool = False

    def settle(self) -> None:
        """No chunk need wait for this any longer. Harmless to repeat."""
        settlements, self.settlements = self.settlements, []
        for settlement in settlements:
            settlement.release()

    def beat(self) -> None:
        """The chunks that wait for this do not hang."""
        for settlement in self.settlements:
            settlement.beat()

    def waits(self, *, permits: bool) -> bool:
        """Whether a call has still to be made, and the dispatcher says when: the destination's pace, or its being
        down. Of permissions only if `permits`. What flies or is being proved ends by itself, or hangs."""
        return any(
            not step.flying and target not in self.stuck and (permits or step.wanted.action == SUPPRESS)
            for target, step in self.open.items()
        )

    def unsure(self) -> list[Step]:
        """What was told while an older "yes" could still land on top of it."""
        return [step for step, o in self.landed if isinstance(o, Accepted) and step.late_until is not None]

    def drop(self, target: str) -> None:
        step = self.open.pop(target)
        self.stuck.pop(target, None)
        self.dropped.add(step.wanted.action)

    def untold_since(self) -> int | None:
        """From when on the oldest revocation that is not told has been owed."""
        untold = [step for step in self.open.values() if step.wanted.action == SUPPRESS and not step.repeat]
        return min((owed_since(step.wanted, self.written_at) for step in untold), default=None)

    @property
    def failing(self) -> bool:
        """Whether anything is open that was not told once already."""
        return any(not step.repeat for step in self.open.values())

    def progress(self, stage: Stage, detail: str | None, now: int) -> Iterator[Receipt]:
        """A receipt an action that is still under way: queued, or failed and to be retried."""
        for action in (SUPPRESS, PERMIT):
            steps = [step for step in self.open.values() if step.wanted.action == action]
            if steps:
                yield self._receipt(action, steps, stage, now, detail=detail)

    def results(self, now: int) -> Iterator[Receipt]:
        """The final receipts, per action: accepted (and effective, where the answer was final) or impossible."""
        for action in (SUPPRESS, PERMIT):
            landed = [(s, outcome) for s, outcome in self.landed if s.wanted.action == action and not s.repeat]
            if not landed or action in self.dropped:
                continue
            steps = [step for step, _ in landed]
            refused = [f"{step.wanted.target}: {o.code}" for step, o in landed if isinstance(o, Refused)]
            if refused:
                yield self._receipt(action, steps, "impossible", now, detail="; ".join(refused))
                continue
            accepted = [outcome for _, outcome in landed if isinstance(outcome, Accepted)]
            references = ",".join(dict.fromkeys(each.reference for each in accepted if each.reference)) or None
            yield self._receipt(action, steps, "accepted", now, reference=references)
            if all(each.effective for each in accepted):
                yield self._receipt(action, steps, "effective", now, reference=references)

    def _receipt(
        self,
        action: Action,
        steps: list[Step],
        stage: Stage,
        now: int,
        *,
        reference: str | None = None,
        detail: str | None = None,
    ) -> Receipt:
        return Receipt(
            tenant=self.tenant,
            address_key=self.address_key,
            action=action,
            stage=stage,
            decision_ids=tuple(dict.fromkeys(d for step in steps for d in step.wanted.decision_ids)),
            version=self.version,
            accepted_at=max(step.wanted.recorded_at for step in steps),
            queued_at=self.queued_at,
            occurred_at=now,
            attempts=max(step.attempts for step in steps),
            provider_reference=reference,
            detail=detail,
        )
