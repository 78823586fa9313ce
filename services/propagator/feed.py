"""One partition of a suppression topic, on its way to one destination.

An entry's way: `intake` reads it, `succession` lets it replace what its address had, `pushing` (with the dispatcher)
makes its calls, `settling` proves or parks it and acknowledges its chunk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from consent_contracts.errors import ContractError
from consent_runtime.transport.contract import Chunk, Ownership, Record
from propagator.connector import PERMIT, SUPPRESS
from propagator.desired import Desired
from propagator.footing import Footing
from propagator.intake import Intake, Reading
from propagator.lanes import Lanes
from propagator.late import LateYes
from propagator.parking import Entry, Parked, Parking
from propagator.pushing import Pushing
from propagator.room import Room
from propagator.settling import Settling
from propagator.succession import Succession
from propagator.told import Told
from propagator.work import Settlement, Work

log = logging.getLogger(__name__)

QUEUED_AFTER = 1_000_000
"""A push that is not told this many micros after it was taken up gets a `queued` receipt."""
PERMITS_DRAIN_SECONDS = 8.0
DRAIN_SECONDS = 4.0
RECEIPTS_DRAIN_SECONDS = 2.0
CLOSE_SECONDS = 12.0
"""The most that `close` takes: a rebalance waits for it."""
PAUSE_SECONDS = 30.0
"""The longest wait for a destination that is down before another chunk is taken: one that waits is not one that
hangs, but the chunk behind it, which nobody has taken up yet, counts as hanging after a minute."""
YIELD_EVERY = 100
"""Entries taken up before the calls get their turn on the loop."""


class Feed:
    """The handler of one partition, from its assignment to its loss. One event loop, no locks."""

    def __init__(
        self,
        room: Room,
        topic: str,
        partition: int,
        ownership: Ownership,
        parking: Parking,
        *,
        released: Callable[[Feed], Awaitable[None]],
    ) -> None:
        """`released` is called at the end of `close`. Inside the running loop."""
        self._room = room
        self._partition = partition
        self._ownership = ownership
        self._parking = parking
        self._released = released
        self._intake = Intake(room, topic, partition)
        self._lanes = Lanes()
        self._late = LateYes(
            timeout_seconds=room.destination.account.timeout_seconds,
            clock=asyncio.get_running_loop().time,
            assigned_at=room.now(),
        )
        self._footing = Footing(ownership, clock=asyncio.get_running_loop().time)
        told = Told()
        self._settling = Settling(room, partition, parking, self._lanes, self._late)
        self._pushing = Pushing(
            room,
            partition,
            self._footing,
            lanes=self._lanes,
            told=told,
            late=self._late,
            settling=self._settling,
        )
        self._succession = Succession(room, self._lanes, told, self._late, self._pushing, self._settling)
        self._followed_from: int | None = None
        self._taken = -1
        """The last offset taken."""

    async def recover(self) -> None:
        """Take up again what is parked here. Before the first chunk."""
        found = await self._parking.recover()
        # Up to the newest of them the topic has been read just now: what is newer than any of them stands behind.
        self._follow(max((parked.entry.offset for parked in found if parked.entry is not None), default=None))
        for parked in found:
            if not await self._resume(parked):
                await self._parking.forget(parked.address_key)

    async def process(self, chunk: Chunk) -> None:
        """Take every entry of the chunk up; a later one of the same address replaces what waits of an earlier."""
        self._follow(chunk.records[0].offset)
        self._taken = chunk.records[-1].offset
        settlement = Settlement(acknowledge=chunk.acknowledge, beat=chunk.beat)
        for index, record in enumerate(chunk.records):
            await self._take(record, settlement)
            if index % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
        settlement.release()
        dispatcher = self._room.dispatcher
        clock = asyncio.get_running_loop().time
        until = clock() + PAUSE_SECONDS
        while dispatcher.paused and self._ownership.fresh() and clock() < until:
            try:
                async with asyncio.timeout(0.5):
                    await dispatcher.until_moved()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Let what is in flight land, within bounds: longer for a "yes", which must not land after another's "no".

        A chunk whose "yes" has not landed by then stays unacknowledged: the next owner reads it, and so knows of it.
        """
        self._lanes.closed = True
        for lane in self._lanes:
            for step in [*lane.work.open.values(), *lane.blocked.values()]:
                step.cancelled = not step.flying
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while flying := [step for step in self._lanes.works if step.flying]:
            permits = any(step.wanted.action == PERMIT for step in flying)
            if loop.time() - begun >= (PERMITS_DRAIN_SECONDS if permits else DRAIN_SECONDS):
                break
            await asyncio.sleep(0.01)
        await self._settling.close(RECEIPTS_DRAIN_SECONDS)
        if self._room.ahead is not None and self._followed_from is not None:
            self._room.ahead.leave(self._partition)
        await self._released(self)

    async def abandon(self) -> None:
        """As if the process had been killed: nothing of this feed happens any more."""
        self._lanes.closed = self._lanes.gone = True
        for step in self._lanes.works:
            step.cancelled = True
        await self._settling.abandon()

    def watch(self) -> tuple[int | None, int]:
        """Since when the oldest untold revocation is owed, and the number of parked addresses; called every moment.

        Also gives what has waited for a second its `queued` receipt, and beats for what waits on purpose.
        """
        self._late.sweep()
        self._footing.look()
        now = self._room.now()
        works = [lane.work for lane in self._lanes if lane.work.open]
        ours = self._ownership.fresh()
        permits = self._room.ahead is not None and self._room.ahead.reads(self._partition)
        for work in works:
            if ours and work.waits(permits=permits):
                work.beat()
            if not work.queued_told and now - work.queued_at >= QUEUED_AFTER:
                self._settling.tell_queued(work, None)
        untold = (since for work in works if (since := work.untold_since()) is not None)
        return min(untold, default=None), sum(lane.recorded and lane.work.failing for lane in self._lanes)

    def _follow(self, offset: int | None) -> None:
        """What is newer than anything from this offset on will be known; again from an earlier one, if need be.

        After a rebalance whose commit failed, records come again. What stood behind them has been passed, and with
        that forgotten: it has to be read ahead again, or an old "yes" would count as the newest.
        """
        if self._room.ahead is None or offset is None:
            return
        if self._followed_from is None or offset < self._followed_from or offset <= self._taken:
            self._followed_from = offset
            self._room.ahead.follow(self._partition, offset)

    async def _take(self, record: Record, settlement: Settlement) -> None:
        key = (record.key or b"").decode("ascii", "replace")
        if record.value is None:
            await self._succession.erase(key)
        else:
            try:
                reading = await self._intake.read(key, record.value)
            except ContractError as error:
                await self._intake.bury(record, error)
                self._succession.doubt(key)
            else:
                work = Work(
                    tenant=reading.tenant,
                    address_key=key,
                    version=record.offset,
                    sealed=reading.sealed,
                    entry=record.value,
                    written_at=reading.written_at,
                    queued_at=self._room.now(),
                    settlements=[settlement.hold()],
                )
                self._succession.begin(work, reading.want)
        if self._room.ahead is not None:
            self._room.ahead.passed(self._partition, record.key or b"", record.offset)

    async def _resume(self, parked: Parked) -> bool:
        """False when nothing is left to push for the address."""
        if parked.entry is None:
            return False
        try:
            entry, reading = await self._newest_readable(parked, parked.entry)
        except ContractError as error:
            # Kept: a later release may be able to read it.
            name = self._room.destination.name
            log.error("parked push unreadable", extra={"destination": name, "why": str(error)})
            return True
        if not reading.want.wanted or reading.sealed is None:
            return False
        work = Work(
            tenant=reading.tenant,
            address_key=parked.address_key,
            version=entry.offset,
            sealed=reading.sealed,
            entry=entry.value,
            written_at=reading.written_at,
            queued_at=parked.first_failed_at,
            settlements=[],
            queued_told=True,
            parked_rounds=1,
            first_failed_at=parked.first_failed_at,
        )
        seconds = max(0.0, (parked.next_attempt_at - self._room.now()) / 1_000_000)
        self._succession.resume(work, reading.want, attempts=parked.attempts, seconds=seconds)
        return True

    async def _newest_readable(self, parked: Parked, newest: Entry) -> tuple[Entry, Reading]:
        """The newest entry goes to dead letters where the log hands it to us. A "no" that was parked stands until then
        and after; a "yes" is no longer sure."""
        try:
            return newest, await self._intake.read(parked.address_key, newest.value)
        except ContractError:
            older = await self._intake.read(parked.address_key, parked.recorded.value)
            refusals = tuple(wanted for wanted in older.want.wanted if wanted.action == SUPPRESS)
            return parked.recorded, Reading(
                want=Desired(wanted=refusals), tenant=older.tenant, sealed=older.sealed, written_at=older.written_at
            )
