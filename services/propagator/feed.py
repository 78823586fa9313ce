"""One partition of a suppression topic, on its way to one destination.

Reads entries, works out what the destination is to hold, hands the steps to the dispatcher, and acknowledges a
chunk once each of its addresses is settled: told (with its receipt acknowledged), refused for good, parked
durably, replaced by a newer entry (whose chunk is then unacknowledged itself), or in no need of anything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from consent_contracts.codec import Codec
from consent_contracts.errors import ContractError, InvalidRecord, RegistryUnavailable, Unreadable
from consent_contracts.records import entry_of, verdicts_of
from consent_runtime.kafka import DeliveryFailed
from consent_runtime.keyring import Keyring, Unsealable
from consent_runtime.transport.contract import Chunk, Ownership, Record
from propagator.ahead import Ahead
from propagator.backlog import Step
from propagator.config import Destination
from propagator.connector import PERMIT, SUPPRESS, Accepted, Push, Refused
from propagator.desired import Desired, Wanted, desired
from propagator.dispatch import Dispatcher, Unpushable
from propagator.metrics import Metrics
from propagator.pace import parked_delay
from propagator.parking import Fenced, Parked, Parking
from propagator.receipts import Receipt, Receipts
from propagator.work import Settlement, Work

log = logging.getLogger(__name__)

QUEUED_AFTER = 1_000_000
"""A push that is not told this many micros after it was taken up gets a `queued` receipt."""
TOLD_ROWS = 200_000
PERMITS_DRAIN_SECONDS = 8.0
DRAIN_SECONDS = 4.0
RECEIPTS_DRAIN_SECONDS = 2.0
CLOSE_SECONDS = 12.0
"""The most that `close` takes: a rebalance waits for it."""
PAUSE_SECONDS = 30.0
"""The longest wait for a destination that is down before another chunk is taken: one that waits is not one that
hangs, and the transport counts a minute in `process` as hanging."""
REGISTRY_SECONDS = 1.0
BROKER_SECONDS = 1.0
YIELD_EVERY = 100
"""Entries taken up before the calls get their turn on the loop."""


class DeadLetters(Protocol):
    """Returns only after the broker has acknowledged the dead letter."""

    async def send(self, record: Any, reason: str, error: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the feeds of one destination share."""

    destination: Destination
    keyring: Keyring
    codec: Codec
    dispatcher: Dispatcher
    receipts: Receipts
    dead_letters: DeadLetters
    metrics: Metrics
    ahead: Ahead | None
    """None: no permission is ever pushed."""
    on_bug: Callable[[BaseException], None]
    now: Callable[[], int] = lambda: time.time_ns() // 1000
    rng: random.Random = field(default_factory=random.Random)


@dataclass(kw_only=True, slots=True, eq=False)
class _Lane:
    """One address: its newest work, and what still flies of older work, by target."""

    work: Work
    flying: dict[str, tuple[Work, Step]] = field(default_factory=dict)
    blocked: dict[str, Step] = field(default_factory=dict)
    """Steps of `work` that wait for an older one to land."""


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
        """`released` is called at the end of `close`."""
        self._room = room
        self._topic = topic
        self._partition = partition
        self._ownership = ownership
        self._parking = parking
        self._released = released
        self._lanes: dict[str, _Lane] = {}
        self._works: dict[Step, Work] = {}
        self._told: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {}
        """What the destination took from this feed: by address and target, action and decisions. It lives as long
        as the assignment and no longer, as another worker may have told something else in between."""
        self._following = False
        self._closed = False
        self._gone = False
        self._background: set[asyncio.Task[None]] = set()

    async def recover(self) -> None:
        """Take up again what is parked here. Before the first chunk."""
        for parked in await self._parking.recover():
            if parked.entry is None or not await self._resume(parked):
                await self._parking.forget(parked.address_key)

    async def process(self, chunk: Chunk) -> None:
        """Take every entry of the chunk up; a later one of the same address replaces what waits of an earlier."""
        if self._room.ahead is not None and not self._following:
            self._following = True
            self._room.ahead.follow(self._partition, chunk.records[0].offset)
        settlement = Settlement(acknowledge=chunk.acknowledge)
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
        """Let what is in flight land, within bounds: longer for a "yes", which must not land after another's "no"."""
        self._closed = True
        for lane in self._lanes.values():
            for step in [*lane.work.open.values(), *lane.blocked.values()]:
                step.cancelled = not step.flying
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while flying := [step for step in self._works if step.flying]:
            permits = any(step.wanted.action == PERMIT for step in flying)
            if loop.time() - begun >= (PERMITS_DRAIN_SECONDS if permits else DRAIN_SECONDS):
                break
            await asyncio.sleep(0.01)
        if self._background:
            await asyncio.wait(self._background, timeout=RECEIPTS_DRAIN_SECONDS)
        self._gone = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._parking.close()
        if self._room.ahead is not None and self._following:
            self._room.ahead.leave(self._partition)
        await self._released(self)

    def watch(self) -> tuple[int | None, int]:
        """recorded_at of the oldest untold revocation and the number of parked addresses; called every moment.

        Also gives what has waited for a second its `queued` receipt.
        """
        now = self._room.now()
        works = [lane.work for lane in self._lanes.values() if lane.work.open]
        for work in works:
            if not work.queued_told and now - work.queued_at >= QUEUED_AFTER:
                self._tell_queued(work, None)
        untold = (since for work in works if (since := work.untold_since()) is not None)
        return min(untold, default=None), sum(work.parked_record for work in works)

    # What the dispatcher calls.

    def may_permit(self, step: Step) -> bool:
        """A "yes" goes out only if we own the partition for certain and nothing newer stands in the topic."""
        expires_at = step.wanted.expires_at
        if expires_at is not None and expires_at <= self._room.now():
            self._expire(step)
            return False
        work = self._works.get(step)
        return (
            work is not None
            and not self._closed
            and not work.superseded
            and self._ownership.fresh()
            and self._room.ahead is not None
            and self._room.ahead.is_newest(self._partition, step.address_key.encode(), work.version)
        )

    def landed(self, step: Step, outcome: Accepted | Refused) -> None:
        work = self._works.pop(step)
        if self._gone:
            return
        wanted, name = step.wanted, self._room.destination.name
        if isinstance(outcome, Accepted):
            self._remember(step)
            self._room.metrics.pushes.labels(name, wanted.action, "accepted").inc()
            seconds = max(0, self._room.now() - wanted.recorded_at) / 1_000_000
            self._room.metrics.latency.labels(self._room.destination.channel, name).observe(seconds)
        else:
            known = outcome.code if outcome.code in ("no_address", "unsealable") else "refused"
            self._room.metrics.pushes.labels(name, wanted.action, known).inc()
        work.landed.append((step, outcome))
        if work.open.get(wanted.target) is step:
            del work.open[wanted.target]
        self._unblock(step, outcome)
        self._advance(work)

    def struggles(self, step: Step, reason: str) -> None:
        work = self._works[step]
        if self._dismissed(step, work):
            return
        if work.first_failed_at is None:
            work.first_failed_at = self._room.now()
        if not work.queued_told:
            self._tell_queued(work, reason)

    def unanswered(self, step: Step) -> None: ...

    def park(self, step: Step, reason: str) -> None:
        work = self._works[step]
        if self._dismissed(step, work):
            return
        if work.first_failed_at is None:
            work.first_failed_at = self._room.now()
        work.stuck[step.wanted.target] = reason
        self._advance(work)

    # Taking entries up.

    async def _take(self, record: Record, settlement: Settlement) -> None:
        key = (record.key or b"").decode("ascii", "replace")
        if record.value is None:
            await self._erase(key)
            self._passed(record)
            return
        try:
            want, tenant, sealed = await self._read(key, record.value)
        except ContractError as error:
            reason = error.reason if isinstance(error, Unreadable) else "invalid_record"
            self._room.metrics.unreadable.labels(self._room.destination.name, reason).inc()
            await self._bury(record, reason, str(error))
            self._doubt(key)
            self._passed(record)
            return
        work = Work(
            tenant=tenant,
            address_key=key,
            version=record.offset,
            sealed=sealed,
            entry=record.value,
            queued_at=self._room.now(),
            settlement=settlement.hold(),
        )
        self._begin(work, want)
        self._passed(record)

    async def _bury(self, record: Record, reason: str, error: str) -> None:
        """Returns once the dead letter is acknowledged; a broker that is away is waited for."""
        while True:
            try:
                return await self._room.dead_letters.send(record, reason, error)
            except DeliveryFailed:
                await asyncio.sleep(BROKER_SECONDS)

    async def _read(self, key: str, value: bytes) -> tuple[Desired, str, bytes | None]:
        room = self._room
        while True:
            try:
                datum = room.codec.decode(self._topic, value)
                break
            except RegistryUnavailable:
                await asyncio.sleep(REGISTRY_SECONDS)
        entry = entry_of(datum)
        if entry.address_key != key or entry.channel != room.destination.channel:
            raise InvalidRecord("address_key", "the entry belongs under another key or to another channel")
        permissions = room.ahead is not None and self._is_primary(entry.tenant, key)
        want = desired(
            entry.decisions,
            verdicts_of(datum),
            room.destination.purposes,
            now=room.now(),
            push_permissions=permissions,
        )
        return want, entry.tenant, entry.sealed_address

    def _begin(self, work: Work, want: Desired) -> None:
        """Put the work in the place of whatever the address had; synchronous, so nothing lands in between."""
        self._tell_nowhere(work, want)
        lane = self._lanes.get(work.address_key)
        if lane is not None:
            # A restart meanwhile pushes the newest entry of a parked address: the record may stay until then.
            work.parked_record = lane.work.parked_record
            self._supersede(lane)
        name = self._room.destination.name
        flying = lane.flying if lane is not None else {}
        steps = []
        for wanted in want.wanted:
            if self._is_told(work.address_key, wanted):
                self._room.metrics.pushes.labels(name, wanted.action, "unchanged").inc()
                continue
            step = Step(address_key=work.address_key, wanted=wanted, build=self._build, owner=self)
            self._works[step] = work
            work.open[wanted.target] = step
            steps.append(step)
        if lane is None:
            lane = self._lanes[work.address_key] = _Lane(work=work)
        else:
            lane.work = work
        for step in steps:
            if work.sealed is None:
                self.landed(step, Refused(code="no_address"))
            elif step.wanted.target in flying:
                lane.blocked[step.wanted.target] = step
            else:
                self._room.dispatcher.submit(step)
        self._advance(work)

    def _supersede(self, lane: _Lane) -> None:
        """The address has a newer entry: what waits of the older is dropped, what flies is let land."""
        old = lane.work
        old.superseded = True
        for target, step in list(old.open.items()):
            if step.flying:
                lane.flying[target] = (old, step)
                continue
            step.cancelled = True
            del self._works[step]
            old.drop(target)
            self._room.metrics.pushes.labels(self._room.destination.name, step.wanted.action, "superseded").inc()
        lane.blocked.clear()
        self._advance(old)

    async def _erase(self, key: str) -> None:
        """A tombstone: the address is to be forgotten. Nothing is lifted anywhere."""
        lane = self._lanes.get(key)
        if lane is not None:
            if lane.work.parked_record:
                await self._forget(lane.work)
            if lane.work.superseded:
                return
            self._supersede(lane)
            self._tidy(lane)
        self._told.pop(key, None)

    def _doubt(self, key: str) -> None:
        """The newest entry cannot be read: an older "yes" of the address is no longer sure, and not said."""
        lane = self._lanes.get(key)
        if lane is None:
            return
        for target, step in list(lane.work.open.items()):
            if step.wanted.action == PERMIT and not step.flying:
                step.cancelled = True
                del self._works[step]
                lane.blocked.pop(target, None)
                lane.work.drop(target)
        self._advance(lane.work)

    async def _resume(self, parked: Parked) -> bool:
        """False when nothing is left to push for the address."""
        assert parked.entry is not None
        try:
            want, tenant, sealed = await self._read(parked.address_key, parked.entry.value)
        except ContractError:
            return False  # It goes to dead letters where the log hands it to us.
        if not want.wanted or sealed is None:
            return False
        work = Work(
            tenant=tenant,
            address_key=parked.address_key,
            version=parked.entry.offset,
            sealed=sealed,
            entry=parked.entry.value,
            queued_at=parked.first_failed_at,
            settlement=None,
            queued_told=True,
            parked_record=True,
            parked_rounds=1,
            first_failed_at=parked.first_failed_at,
        )
        self._lanes[parked.address_key] = _Lane(work=work)
        seconds = max(0.0, (parked.next_attempt_at - self._room.now()) / 1_000_000)
        for wanted in want.wanted:
            step = Step(address_key=parked.address_key, wanted=wanted, build=self._build, owner=self)
            step.parked = True
            step.attempts = parked.attempts
            self._works[step] = work
            work.open[wanted.target] = step
            self._room.dispatcher.later(step, seconds)
        return True

    def _build(self, step: Step) -> Push:
        """Opens the seal, immediately before a call. What was told before is no longer known once it is out."""
        work, wanted, room = self._works[step], step.wanted, self._room
        assert work.sealed is not None
        try:
            address = room.keyring.open(step.address_key, work.sealed)
        except Unsealable as error:
            log.error("address cannot be opened", extra={"address_key": step.address_key, "why": error.reason})
            raise Unpushable("unsealable", curable=error.reason == "unknown_key") from error
        self._told.get(step.address_key, {}).pop(wanted.target, None)
        return Push(
            push_id=wanted.push_id(room.destination.name, step.address_key),
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

    # What follows from landings.

    def _remember(self, step: Step) -> None:
        if len(self._told) >= TOLD_ROWS:
            del self._told[next(iter(self._told))]
        row = self._told.setdefault(step.address_key, {})
        row[step.wanted.target] = (step.wanted.action, step.wanted.decision_ids)

    def _is_told(self, address_key: str, wanted: Wanted) -> bool:
        row = self._told.get(address_key)
        return row is not None and row.get(wanted.target) == (wanted.action, wanted.decision_ids)

    def _dismissed(self, step: Step, work: Work) -> bool:
        """Whether a step that failed is not to be tried again here.

        After `close` it stays open, so that its chunk is never acknowledged: the next owner pushes it.
        """
        step.cancelled = self._closed or work.superseded
        if work.superseded and not self._closed:
            self._give_up(step)
        return step.cancelled

    def _give_up(self, step: Step) -> None:
        """A step of older work failed: the newer one says it all."""
        work = self._works.pop(step)
        if work.open.get(step.wanted.target) is step:
            work.drop(step.wanted.target)
        self._unblock(step)
        self._advance(work)

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
                and self._is_told(lane.work.address_key, blocked.wanted)
            ):
                self.landed(blocked, outcome)
            elif blocked is not None and not self._closed:
                self._room.dispatcher.submit(blocked)
        self._tidy(lane)

    def _expire(self, step: Step) -> None:
        """The permission ended while it waited: the opposite is to be told."""
        work = self._works.pop(step, None)
        step.cancelled = True
        if work is None or work.superseded or self._closed:
            return
        wanted = replace(
            step.wanted,
            action=SUPPRESS,
            reason="expired",
            occurred_at=step.wanted.expires_at or step.wanted.occurred_at,
            expires_at=None,
        )
        instead = Step(address_key=step.address_key, wanted=wanted, build=self._build, owner=self)
        self._works[instead] = work
        work.open[wanted.target] = instead
        self._room.dispatcher.submit(instead)

    def _advance(self, work: Work) -> None:
        """Conclude or park the work if nothing else is left to wait for."""
        if work.concluding or (self._closed and work.open):
            return
        if not work.open:
            work.concluding = True
            self._spawn(self._conclude(work))
        elif len(work.stuck) == len(work.open) and not work.superseded:
            work.concluding = True
            self._spawn(self._park(work))

    async def _conclude(self, work: Work) -> None:
        for receipt in work.results(self._room.now()):
            await self._room.receipts.send(receipt)
        lane = self._lanes.get(work.address_key)
        if lane is not None and lane.work is work and work.parked_record:
            await self._forget(work)
        work.settle()
        lane = self._lanes.get(work.address_key)
        if lane is not None:
            self._tidy(lane)

    async def _park(self, work: Work) -> None:
        """Durable first, then the chunk may go on; the address is tried again on its own schedule."""
        room = self._room
        work.parked_rounds += 1
        seconds = parked_delay(work.parked_rounds, room.rng)
        now = room.now()
        detail = "; ".join(f"{target}: {reason}" for target, reason in sorted(work.stuck.items()))
        await self._parking.put(
            work.address_key,
            {
                "destination": room.destination.name,
                "tenant": work.tenant,
                "channel": room.destination.channel,
                "address_key": work.address_key,
                "source_partition": self._partition,
                "source_offset": work.version,
                "entry": work.entry,
                "attempts": max(step.attempts for step in work.open.values()),
                "first_failed_at": work.first_failed_at or now,
                "next_attempt_at": now + int(seconds * 1_000_000),
                "detail": detail,
            },
        )
        work.parked_record = True
        if work.superseded:
            # A newer entry came while the record was being written: the record is now that one's to strike out.
            lane = self._lanes.get(work.address_key)
            if lane is None or lane.work.concluding:
                await self._forget(work)
            else:
                lane.work.parked_record = True
        elif work.parked_rounds == 1:
            log.warning("address parked", extra={"destination": room.destination.name, "address_key": work.address_key})
            for receipt in work.progress("failed", detail, room.now()):
                await room.receipts.send(receipt)
        work.settle()
        work.concluding = False
        if work.superseded or self._closed:
            self._advance(work)
            return
        for step in work.open.values():
            room.metrics.pushes.labels(room.destination.name, step.wanted.action, "parked").inc()
            step.parked = True
            step.strikes = 0
            room.dispatcher.later(step, seconds)
        work.stuck.clear()

    async def _forget(self, work: Work) -> None:
        await self._parking.forget(work.address_key)
        work.parked_record = False

    def _tidy(self, lane: _Lane) -> None:
        """Forget an address nothing is under way for."""
        idle = not (lane.work.open or lane.flying or lane.blocked or lane.work.parked_record)
        if idle and self._lanes.get(lane.work.address_key) is lane:
            del self._lanes[lane.work.address_key]

    def _tell_queued(self, work: Work, reason: str | None) -> None:
        work.queued_told = True
        for receipt in work.progress("queued", reason, self._room.now()):
            self._spawn(self._room.receipts.send(receipt))

    def _tell_nowhere(self, work: Work, want: Desired) -> None:
        """Revocations of purposes that the destination has no target for: said, so that it is seen."""
        if not want.nowhere:
            return
        self._room.metrics.pushes.labels(self._room.destination.name, SUPPRESS, "no_target").inc()
        now = self._room.now()
        receipt = Receipt(
            tenant=work.tenant,
            address_key=work.address_key,
            action=SUPPRESS,
            stage="impossible",
            decision_ids=want.nowhere,
            version=work.version,
            accepted_at=want.nowhere_recorded_at,
            queued_at=work.queued_at,
            occurred_at=now,
            attempts=0,
            detail="the destination has no target for the purpose",
        )
        settlement = work.settlement.hold() if work.settlement is not None else None
        self._spawn(self._settled(receipt, settlement))

    async def _settled(self, receipt: Receipt, settlement: Settlement | None) -> None:
        await self._room.receipts.send(receipt)
        if settlement is not None:
            settlement.release()

    def _passed(self, record: Record) -> None:
        if self._room.ahead is not None:
            self._room.ahead.passed(self._partition, record.key or b"", record.offset)

    def _is_primary(self, tenant: str, address_key: str) -> bool:
        """Only the entry under the tenant's primary hash key speaks for a permission."""
        key_id = address_key.partition(".")[0]
        return any(key.primary and key.id == key_id for key in self._room.keyring.hash_keys.get(tenant, ()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Fenced:
            log.warning(
                "fenced: another worker has the partition",
                extra={"destination": self._room.destination.name, "partition": self._partition},
            )
        except Exception as error:
            log.exception("bug in a feed", extra={"destination": self._room.destination.name})
            self._room.on_bug(error)
