"""One step at a time: leave to say it, the push itself, and what each answer means for the address."""

from __future__ import annotations

import logging
from dataclasses import replace

from consent_runtime.keyring import Unsealable
from propagator.backlog import Step
from propagator.connector import SUPPRESS, Accepted, Push, Refused
from propagator.desired import Wanted
from propagator.dispatch import Unpushable
from propagator.footing import Footing
from propagator.lanes import Lanes
from propagator.late import LateYes
from propagator.owed import owed_since
from propagator.room import Room
from propagator.settling import Settling
from propagator.told import Told
from propagator.work import Work

log = logging.getLogger(__name__)


class Pushing:
    """The owner of one partition's steps: the dispatcher asks and tells it."""

    def __init__(
        self,
        room: Room,
        partition: int,
        footing: Footing,
        *,
        lanes: Lanes,
        told: Told,
        late: LateYes,
        settling: Settling,
    ) -> None:
        self._room = room
        self._partition = partition
        self._footing = footing
        self._lanes = lanes
        self._told = told
        self._late = late
        self._settling = settling

    def step(self, work: Work, wanted: Wanted) -> Step:
        """A step of the work, open from now on."""
        step = Step(address_key=work.address_key, wanted=wanted, build=self._build, owner=self)
        self._lanes.works[step] = work
        work.open[wanted.target] = step
        return step

    def may_push(self, step: Step) -> bool:
        """A "yes" goes out only if we own the partition for certain and nothing newer stands in the topic; a "no" is
        held back only while it may be an old one, said by a worker that has been replaced."""
        if step.wanted.action == SUPPRESS:
            return self._footing.sure() if self._lanes.closed else self._footing.tenable()
        expires_at = step.wanted.expires_at
        if expires_at is not None and expires_at <= self._room.now():
            self._expire(step)
            return False
        work = self._lanes.works.get(step)
        return (
            work is not None
            and not self._lanes.closed
            and not work.superseded
            and self._footing.sure()
            and self._room.ahead is not None
            and self._room.ahead.is_newest(self._partition, step.address_key.encode(), work.version)
        )

    def landed(self, step: Step, outcome: Accepted | Refused) -> None:
        work = self._lanes.works.pop(step)
        if self._lanes.gone:
            return
        work.beat()
        if isinstance(outcome, Accepted):
            self._accepted(step, work)
        else:
            known = outcome.code if outcome.code in ("no_address", "unsealable") else "refused"
            self._room.count(step.wanted.action, known)
        work.landed.append((step, outcome))
        if work.open.get(step.wanted.target) is step:
            del work.open[step.wanted.target]
        self._unblock(step, outcome)
        self._settling.advance(work)

    def struggles(self, step: Step, reason: str) -> None:
        work = self._lanes.works[step]
        if self._dismissed(step, work):
            return
        work.beat()
        if work.first_failed_at is None:
            work.first_failed_at = self._room.now()
        if not work.queued_told:
            self._settling.tell_queued(work, reason)

    def unanswered(self, step: Step) -> None:
        self._late.unanswered(step.address_key, step.wanted.target)

    def park(self, step: Step, reason: str) -> None:
        work = self._lanes.works[step]
        if self._dismissed(step, work):
            return
        if work.first_failed_at is None:
            work.first_failed_at = self._room.now()
        work.stuck[step.wanted.target] = reason
        self._settling.advance(work)

    def _build(self, step: Step) -> Push:
        """Opens the seal, immediately before a call. What was told before is no longer known once it is out."""
        work, wanted, room = self._lanes.works[step], step.wanted, self._room
        assert work.sealed is not None
        try:
            address = room.keyring.open(step.address_key, work.sealed)
        except Unsealable as error:
            log.error("address cannot be opened", extra={"address_key": step.address_key, "why": error.reason})
            raise Unpushable("unsealable", curable=error.reason == "unknown_key") from error
        self._told.doubt(step.address_key, wanted.target)
        step.late_until = self._late.until(step.address_key, wanted.target)
        # A receiver that drops ids it knows must not drop the repetition of a "no".
        first_of_two = wanted.action == SUPPRESS and step.late_until is not None
        return Push(
            push_id=wanted.push_id(
                room.destination.name,
                step.address_key,
                first_of_two=first_of_two,
                told_before=self._late.told_before(work.written_at),
            ),
            tenant=work.tenant,
            channel=room.destination.channel,
            address_key=step.address_key,
            address=address,
            action=wanted.action,
            target=wanted.target,
            purposes=wanted.purposes,
            reason=wanted.reason,
            decision_ids=wanted.decision_ids,
            version=work.version,
            occurred_at=wanted.occurred_at,
            recorded_at=wanted.recorded_at,
            expires_at=wanted.expires_at,
        )

    def _accepted(self, step: Step, work: Work) -> None:
        room, wanted = self._room, step.wanted
        if step.late_until is None:
            self._told.remember(step.address_key, wanted)
        room.count(wanted.action, "repeated" if step.repeat else "accepted")
        if not step.repeat:
            seconds = max(0, room.now() - owed_since(wanted, work.written_at)) / 1_000_000
            room.metrics.latency.labels(room.destination.channel, room.destination.name).observe(seconds)

    def _dismissed(self, step: Step, work: Work) -> bool:
        """Whether a step that failed is not to be tried again here.

        After `close` it stays open, so that its chunk is never acknowledged: the next owner pushes it.
        """
        step.cancelled = self._lanes.closed or work.superseded
        if work.superseded and not self._lanes.closed:
            self._give_up(step)
        return step.cancelled

    def _give_up(self, step: Step) -> None:
        """A step of older work failed: the newer one says it all."""
        work = self._lanes.works.pop(step)
        if work.open.get(step.wanted.target) is step:
            work.drop(step.wanted.target)
        self._unblock(step)
        self._settling.advance(work)

    def _unblock(self, step: Step, outcome: Accepted | Refused | None = None) -> None:
        """An older step of this target has landed: the newer one may go, or is done with it if it says the same."""
        lane = self._lanes.get(step.address_key)
        if lane is None:
            return
        target = step.wanted.target
        if lane.flying.get(target, (None, None))[1] is step:
            del lane.flying[target]
            blocked = lane.blocked.pop(target, None)
            if (
                blocked is not None
                and isinstance(outcome, Accepted)
                and self._told.holds(lane.work.address_key, blocked.wanted)
            ):
                self.landed(blocked, outcome)
            elif blocked is not None and not self._lanes.closed:
                self._room.dispatcher.submit(blocked)
        self._lanes.tidy(lane)

    def _expire(self, step: Step) -> None:
        """The permission ended while it waited: the opposite is to be told."""
        work = self._lanes.works.get(step)
        if work is None or self._dismissed(step, work):
            return
        step.cancelled = True
        del self._lanes.works[step]
        wanted = replace(
            step.wanted,
            action=SUPPRESS,
            reason="expired",
            occurred_at=step.wanted.expires_at or step.wanted.occurred_at,
            expires_at=None,
        )
        self._room.dispatcher.submit(self.step(work, wanted))
