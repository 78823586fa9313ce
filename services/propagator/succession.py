"""Which entry of an address speaks: the newest. What waits of an older one is dropped, what flies is let land."""

from __future__ import annotations

from propagator.connector import PERMIT, Refused
from propagator.desired import Desired
from propagator.lanes import Lane, Lanes
from propagator.late import LateYes
from propagator.pushing import Pushing
from propagator.room import Room
from propagator.settling import Settling
from propagator.told import Told
from propagator.work import Work


class Succession:
    """One partition's. Synchronous where it decides, so that nothing lands in between."""

    def __init__(
        self, room: Room, lanes: Lanes, told: Told, late: LateYes, pushing: Pushing, settling: Settling
    ) -> None:
        self._room = room
        self._lanes = lanes
        self._told = told
        self._late = late
        self._pushing = pushing
        self._settling = settling

    def begin(self, work: Work, want: Desired) -> None:
        """Put the work in the place of whatever the address had."""
        self._settling.tell_nowhere(work, want)
        lane = self._lanes.get(work.address_key)
        if lane is not None:
            self._supersede(lane)
        steps = []
        for wanted in want.wanted:
            if wanted.action == PERMIT:
                self._late.unknown(work.address_key, wanted.target, written_at=work.written_at)
            if self._told.holds(work.address_key, wanted):
                self._room.count(wanted.action, "unchanged")
            else:
                steps.append(self._pushing.step(work, wanted))
        lane = self._lanes.enter(work)
        for step in steps:
            if work.sealed is None:
                self._pushing.landed(step, Refused(code="no_address"))
            elif step.wanted.target in lane.flying:
                lane.blocked[step.wanted.target] = step
            else:
                self._room.dispatcher.submit(step)
        self._settling.advance(work)

    def resume(self, work: Work, want: Desired, *, attempts: int, seconds: float) -> None:
        """Take a parked address up again; its chunk is not waited for by anybody."""
        self._lanes.enter(work).recorded = True
        for wanted in want.wanted:
            if self._room.ahead is not None:
                # What was parked may have been a "yes", whatever the newest entry says, and whenever that was written.
                self._late.unknown(work.address_key, wanted.target, written_at=0)
            step = self._pushing.step(work, wanted)
            step.parked = True
            step.attempts = attempts
            self._room.dispatcher.later(step, seconds)

    async def erase(self, address_key: str) -> None:
        """A tombstone: the address is to be forgotten. Nothing is lifted anywhere."""
        self._told.forget(address_key)
        lane = self._lanes.get(address_key)
        if lane is None:
            return
        if not lane.work.superseded:
            self._supersede(lane)
        await self._settling.forget(lane)
        self._lanes.tidy(lane)

    def doubt(self, address_key: str) -> None:
        """The newest entry cannot be read: an older "yes" of the address is no longer sure, and not said."""
        lane = self._lanes.get(address_key)
        if lane is None:
            return
        unsure = [s for s in lane.work.open.values() if s.wanted.action == PERMIT and not s.flying]
        for step in unsure:
            step.cancelled = True
            del self._lanes.works[step]
            lane.blocked.pop(step.wanted.target, None)
            lane.work.drop(step.wanted.target)
        if unsure:
            self._settling.advance(lane.work)

    def _supersede(self, lane: Lane) -> None:
        old = lane.work
        old.superseded = True
        for target, step in list(old.open.items()):
            if step.flying:
                lane.flying[target] = (old, step)
                continue
            step.cancelled = True
            del self._lanes.works[step]
            old.drop(target)
            self._room.count(step.wanted.action, "superseded")
        lane.blocked.clear()
        self._settling.advance(old)
