"""The end of a work: its receipts, its parking, and the acknowledgement of the chunk it came from, in that order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

from propagator.backlog import Step
from propagator.connector import SUPPRESS
from propagator.desired import Desired
from propagator.lanes import Lane, Lanes
from propagator.late import LateYes
from propagator.pace import parked_delay
from propagator.parking import Parking
from propagator.receipts import Receipt
from propagator.room import Room
from propagator.work import Settlement, Work

log = logging.getLogger(__name__)

MARGIN = 0.1
"""Seconds, so that a timer that fires early does not count as before the moment."""


class Settling:
    """One partition's. A chunk is settled once each of its works is told and proved, parked, or replaced by a newer
    one, whose own chunk is then unsettled itself."""

    def __init__(self, room: Room, partition: int, parking: Parking, lanes: Lanes, late: LateYes) -> None:
        self._room = room
        self._partition = partition
        self._parking = parking
        self._lanes = lanes
        self._late = late
        self._background: set[asyncio.Task[None]] = set()

    def advance(self, work: Work) -> None:
        """Conclude or park the work if nothing else is left to wait for."""
        if work.concluding or (self._lanes.closed and work.open):
            return
        if not work.open:
            work.concluding = True
            self._spawn(self._conclude(work))
        elif len(work.stuck) == len(work.open) and not work.superseded:
            work.concluding = True
            self._spawn(self._park(work))

    def tell_queued(self, work: Work, reason: str | None) -> None:
        work.queued_told = True
        for receipt in work.progress("queued", reason, self._room.now()):
            self._spawn(self._room.receipts.send(receipt))

    def tell_nowhere(self, work: Work, want: Desired) -> None:
        """Revocations of purposes that the destination has no target for: said, so that it is seen."""
        if not want.nowhere:
            return
        self._room.count(SUPPRESS, "no_target")
        receipt = Receipt(
            tenant=work.tenant,
            address_key=work.address_key,
            action=SUPPRESS,
            stage="impossible",
            decision_ids=want.nowhere,
            version=work.version,
            accepted_at=want.nowhere_recorded_at,
            queued_at=work.queued_at,
            occurred_at=self._room.now(),
            attempts=0,
            detail="the destination has no target for the purpose",
        )
        self._spawn(self._told_nowhere(receipt, [settlement.hold() for settlement in work.settlements]))

    async def forget(self, lane: Lane) -> None:
        """Strike the address's parked record out, if there is one."""
        while lane.recorded:
            lane.recorded = False
            await self._parking.forget(lane.work.address_key)

    async def close(self, seconds: float) -> None:
        """Let receipts and parking under way end within `seconds`; what is abandoned has settled nothing."""
        if self._background:
            await asyncio.wait(self._background, timeout=seconds)
        self._lanes.gone = True
        await self.abandon()
        await self._parking.close()

    async def abandon(self) -> None:
        """What is under way does not happen."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _conclude(self, work: Work) -> None:
        for receipt in work.results(self._room.now()):
            await self._room.receipts.send(receipt)
        lane = self._lanes.get(work.address_key)
        if work.superseded:
            newest = lane.work if lane is not None else work
            if newest.done or newest is work or not self._late.pending(work.address_key):
                work.settle()
            else:
                # Its "yes" may still land. If we die before the "no" is durable, our successor has to know of both.
                newest.settlements += work.settlements
                work.settlements = []
        elif unsure := work.unsure():
            await self._outlast(work, unsure)
            return
        else:
            if lane is not None:
                await self.forget(lane)
            work.settle()
        work.done = True
        if lane is not None:
            self._lanes.tidy(lane)

    async def _outlast(self, work: Work, steps: list[Step]) -> None:
        """These were told while an older "yes" could land on top of them. Until it no longer can, a record remembers
        that for whoever owns the partition then; a "no" is then told once more, a "yes" has nothing to fear."""
        clock = asyncio.get_running_loop().time
        moment = max(step.late_until or 0.0 for step in steps) + MARGIN
        detail = 'told; and once more, as an earlier "yes" may still arrive'
        await self._record(work, steps, max(0.0, moment - clock()), detail)
        work.settle()
        work.landed.clear()
        work.queued_told = True
        work.parked_rounds = max(1, work.parked_rounds)
        work.concluding = False
        if self._lanes.closed:
            return
        if work.superseded:
            self.advance(work)
            return
        seconds = max(0.0, moment - clock())
        for step in steps:
            if step.wanted.action == SUPPRESS:
                again = Step(address_key=step.address_key, wanted=step.wanted, build=step.build, owner=step.owner)
                again.repeat = True
                again.attempts = step.attempts
                self._lanes.works[again] = work
                work.open[step.wanted.target] = again
                self._room.dispatcher.later(again, seconds)
        if not work.open:
            asyncio.get_running_loop().call_later(seconds, self._outlasted, work)

    def _outlasted(self, work: Work) -> None:
        if not (self._lanes.closed or work.superseded):
            self.advance(work)

    async def _park(self, work: Work) -> None:
        """Durable first, then the chunk may go on; the address is tried again on its own schedule."""
        room = self._room
        work.parked_rounds += 1
        seconds = parked_delay(work.parked_rounds, room.rng)
        detail = "; ".join(f"{target}: {reason}" for target, reason in sorted(work.stuck.items()))
        await self._record(work, work.open.values(), seconds, detail)
        if not work.superseded and work.parked_rounds == 1:
            log.warning("address parked", extra={"destination": room.destination.name, "address_key": work.address_key})
            for receipt in work.progress("failed", detail, room.now()):
                await room.receipts.send(receipt)
        work.settle()
        work.concluding = False
        if work.superseded or self._lanes.closed:
            self.advance(work)
            return
        for step in work.open.values():
            room.count(step.wanted.action, "parked")
            step.parked = True
            step.strikes = 0
            room.dispatcher.later(step, seconds)
        work.stuck.clear()

    async def _record(self, work: Work, steps: Iterable[Step], seconds: float, detail: str) -> None:
        """Returns once the parked topic holds the address, to be told again in so many seconds."""
        now = self._room.now()
        await self._parking.put(
            work.address_key,
            {
                "destination": self._room.destination.name,
                "tenant": work.tenant,
                "channel": self._room.destination.channel,
                "address_key": work.address_key,
                "source_partition": self._partition,
                "source_offset": work.version,
                "entry": work.entry,
                "attempts": max(step.attempts for step in steps),
                "first_failed_at": work.first_failed_at or now,
                "next_attempt_at": now + int(seconds * 1_000_000),
                "detail": detail,
            },
        )
        lane = self._lanes.get(work.address_key)
        if lane is not None:
            lane.recorded = True
        if lane is None or (work.superseded and (lane.work is work or lane.work.done)):
            # A newer entry came and went while the record was being written: nobody else strikes it out.
            await self._parking.forget(work.address_key)
            if lane is not None:
                lane.recorded = False

    async def _told_nowhere(self, receipt: Receipt, settlements: list[Settlement]) -> None:
        await self._room.receipts.send(receipt)
        for settlement in settlements:
            settlement.release()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            log.exception("bug in a feed", extra={"destination": self._room.destination.name})
            self._room.on_bug(error)
