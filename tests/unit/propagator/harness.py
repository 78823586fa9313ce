"""A destination in a box: virtual time, a log with commits, durable parking, and a provider that misbehaves.

Everything durable outlives a worker, so that workers can crash, be replaced, or come back as zombies.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from consent_contracts import Codec, Topics
from consent_contracts.decisions import Decision, Entry
from consent_contracts.join import join
from consent_contracts.records import suppression_datum
from consent_contracts.verdict import verdicts
from consent_runtime.keyring import Key, Keyring
from consent_runtime.transport.contract import Chunk
from propagator.ahead import Ahead
from propagator.config import Destination, Limits, Purposes
from propagator.connector import (
    PERMIT,
    SUPPRESS,
    Accepted,
    Account,
    Capabilities,
    Connector,
    Guard,
    Kind,
    Outcome,
    Push,
)
from propagator.desired import desired
from propagator.dispatch import Dispatcher
from propagator.errors import Withheld
from propagator.feed import Feed
from propagator.metrics import Metrics
from propagator.parking import Entry as NewestEntry
from propagator.parking import Parked, Parking
from propagator.receipts import Receipts
from propagator.room import Room
from propagator.station import WATCH_SECONDS

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
TOPICS = Topics()
TOPIC = TOPICS.suppression("sms")
KEYRING = Keyring(
    seal_keys=[Key(id="s1", secret=b"s" * 32)],
    hash_keys={"acme": [Key(id="h1", secret=b"h" * 32), Key(id="h2", secret=b"i" * 32, primary=True)]},
)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only when nothing else can happen, and then at once."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def virtually(work: Coroutine[Any, Any, None]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(work)
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()


def wall() -> int:
    return START + int(asyncio.get_running_loop().time() * SECOND)


class Ids:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.away = False

    def id_of(self, subject: str, schema_text: str) -> int:
        if schema_text not in self.texts:
            self.texts.append(schema_text)
        return self.texts.index(schema_text) + 1

    def schema_of(self, schema_id: int) -> str:
        if self.away:
            raise LookupError
        return self.texts[schema_id - 1]


@dataclass
class LogRecord:
    offset: int
    key: bytes
    value: bytes | None
    topic: str = TOPIC
    partition: int = 0
    timestamp: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass
class Durable:
    """What outlives every worker: the log, the committed offset, parked records, receipts, dead letters."""

    ids: Ids = field(default_factory=Ids)
    codec: Codec = field(init=False)
    records: list[LogRecord] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    committed: int = 0
    parked: dict[str, dict[str, Any]] = field(default_factory=dict)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    dead: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.codec = Codec(self.ids)

    def forget_schemas(self) -> None:
        """As a registry that was wiped, before a worker that has just started."""
        self.ids.away = True
        self.codec = Codec(self.ids)

    def remember_schemas(self) -> None:
        self.ids.away = False

    def append(self, key: str, value: bytes | None) -> int:
        self.records.append(LogRecord(offset=len(self.records), key=key.encode(), value=value))
        return len(self.records) - 1

    def decide(self, number: int, *decisions: Decision, key_id: str = "h1", sealed: bool = True) -> str:
        """Merge decisions into an address's entry and write it, as the suppression stage does."""
        address = f"+336399800{number:02d}"
        key = f"{key_id}.address{number:02d}"
        entry = Entry(
            tenant="acme",
            channel="sms",
            address_key=key,
            sealed_address=KEYRING.seal(key, address) if sealed else None,
            decisions=(),
        )
        merged = self.entries.get(key, entry)
        for each in decisions:
            merged = join(merged, Entry(**{**_fields(entry), "decisions": (each,)}))
        self.entries[key] = merged
        self.append(key, self.codec.encode(TOPIC, suppression_datum(merged, wall())))
        return key

    def newest(self, key: str) -> LogRecord | None:
        found = [record for record in self.records if record.key == key.encode()]
        return found[-1] if found else None

    async def send(self, topic: str, key: Any, value: Any, headers: Any = None, partition: Any = None) -> None:
        await asyncio.sleep(0.002)
        self.receipts.append(self.codec.decode(topic, value))

    def stages(self, key: str | None = None) -> list[str]:
        return [each["stage"] for each in self.receipts if key in (None, each["address_key"])]


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


def decision(
    decision_id: str, status: str = "withdrawn", *, purpose: str = "newsletter", at: int | None = None, **more: Any
) -> Decision:
    when = wall() if at is None else at
    return Decision(
        decision_id=decision_id,
        subject_ref=more.pop("subject_ref", "ann"),
        purpose=purpose,
        status=status,
        effective_at=when,
        recorded_at=max(when, more.pop("recorded_at", when)),
        **more,
    )


class FakeParking(Parking):
    """The parked topic as a dictionary; `owner` is what fences."""

    def __init__(self, durable: Durable) -> None:
        self._durable = durable

    async def put(self, address_key: str, datum: dict[str, Any]) -> None:
        await asyncio.sleep(0.005)
        self._durable.parked[address_key] = datum

    async def forget(self, address_key: str) -> None:
        await asyncio.sleep(0.005)
        self._durable.parked.pop(address_key, None)

    async def close(self) -> None: ...

    async def recover(self) -> list[Parked]:
        await asyncio.sleep(0.01)
        found = []
        for key, datum in self._durable.parked.items():
            newest = self._durable.newest(key)
            entry = None
            if newest is not None and newest.value is not None:
                entry = NewestEntry(offset=newest.offset, value=newest.value)
            found.append(
                Parked(
                    address_key=key,
                    recorded=NewestEntry(offset=datum["source_offset"], value=datum["entry"]),
                    attempts=datum["attempts"],
                    first_failed_at=datum["first_failed_at"],
                    next_attempt_at=datum["next_attempt_at"],
                    entry=entry,
                )
            )
        return found


class FakeAhead(Ahead):
    """Nothing is newest before the partition is followed."""

    def __init__(self, durable: Durable) -> None:
        self._durable = durable
        self.followed: list[int] = []
        self.reading = True

    def follow(self, partition: int, offset: int) -> None:
        self.followed.append(offset)

    def leave(self, partition: int) -> None: ...
    def passed(self, partition: int, key: bytes, offset: int) -> None: ...
    async def close(self) -> None: ...

    def reads(self, partition: int) -> bool:
        return self.reading

    def is_newest(self, partition: int, key: bytes, offset: int) -> bool:
        newest = self._durable.newest(key.decode())
        return self.reading and bool(self.followed) and newest is not None and newest.offset <= offset


class FakeDeadLetters:
    def __init__(self, durable: Durable) -> None:
        self._durable = durable

    async def send(self, record: Any, reason: str, error: str) -> None:
        self._durable.dead.append((record.offset, reason))


Behaviour = Callable[[Sequence[Push], "Provider"], Coroutine[Any, Any, Sequence[Outcome] | None]]


@dataclass
class Provider:
    """A connector and the provider behind it. `behave` may raise, answer itself, or leave it to go well (None)."""

    behave: Behaviour | None = None
    seconds: float = 0.05
    state: dict[tuple[str, str], str] = field(default_factory=dict)
    calls: list[list[Push]] = field(default_factory=list)
    applied: list[Push] = field(default_factory=list)
    on_apply: Callable[[Push], None] = lambda _push: None
    flying: dict[tuple[str, str], int] = field(default_factory=dict)
    overlaps: int = 0
    verify_errors: list[Exception] = field(default_factory=list)

    async def verify(self) -> None:
        if self.verify_errors:
            raise self.verify_errors.pop(0)

    async def push(self, pushes: Sequence[Push], *, guard: Guard) -> Sequence[Outcome]:
        self.calls.append(list(pushes))
        for push in pushes:
            where = (push.address, push.target)
            self.flying[where] = self.flying.get(where, 0) + 1
            self.overlaps += self.flying[where] > 1
        try:
            await asyncio.sleep(self.seconds / 2)
            if not guard():
                raise Withheld
            answer = await self.behave(pushes, self) if self.behave is not None else None
            if answer is None:
                self.apply(pushes)
                answer = [Accepted(reference="r", effective=True) for _ in pushes]
            await asyncio.sleep(self.seconds / 2)
            return answer
        finally:
            for push in pushes:
                self.flying[push.address, push.target] -= 1

    def apply(self, pushes: Sequence[Push]) -> None:
        for push in pushes:
            self.on_apply(push)
            self.applied.append(push)
            self.state[push.address_key, push.target] = push.action

    async def close(self) -> None: ...


def destination(
    *,
    purposes: dict[str, tuple[str, ...]] | None = None,
    push_permissions: bool = True,
    batch: int = 25,
    per_second: float = 1000.0,
    concurrency: int = 4,
    park_after: int = 3,
    mixed: bool = False,
    burst: int = 10,
) -> Destination:
    limits = {SUPPRESS: batch, PERMIT: batch}
    kind = Kind(
        name="fake",
        channels=None,
        credentials={},
        capabilities=Capabilities(max_batch=limits, mixed=mixed, calls_per_second=per_second, burst=burst),
        target_error=lambda _target: None,
        build=lambda _account: Provider(),
    )
    mapping = purposes or {"newsletter": ("n",), "survey": ("s",)}
    return Destination(
        name="fake-fr",
        kind=kind,
        account=Account(
            destination="fake-fr",
            channel="sms",
            url=None,
            credentials={},
            options={},
            targets=tuple(sorted({each for targets in mapping.values() for each in targets})),
        ),
        purposes=Purposes(targets=mapping),
        push_permissions=push_permissions,
        limits=Limits(calls_per_second=per_second, burst=burst, concurrency=concurrency, max_batch=limits),
        park_after=park_after,
    )


class Worker:
    """One process that owns the partition: reads the log in chunks, commits below the oldest unfinished one."""

    def __init__(
        self,
        durable: Durable,
        provider: Connector,
        where: Destination | None = None,
        *,
        seed: int = 0,
        chunk: int = 10,
        max_outstanding: int = 200,
        clock_behind: int = 0,
    ) -> None:
        self.durable = durable
        self.where = where or destination()
        self.metrics = Metrics.on(CollectorRegistry())
        self.bugs: list[BaseException] = []
        self.owns = True
        self.waits_because: str | None = None
        self._chunk = chunk
        self._max_outstanding = max_outstanding
        self._unfinished: dict[int, int] = {}
        self._position = durable.committed
        rng = random.Random(seed)
        self.dispatcher = Dispatcher(self.where, provider, self.metrics, on_bug=self.bugs.append, rng=rng)
        receipts = Receipts(
            durable, durable.codec, TOPICS.receipts, self.metrics, destination=self.where.name, channel="sms"
        )
        self.ahead = FakeAhead(durable) if self.where.push_permissions else None
        room = Room(
            destination=self.where,
            keyring=KEYRING,
            codec=durable.codec,
            dispatcher=self.dispatcher,
            receipts=receipts,
            dead_letters=FakeDeadLetters(durable),
            metrics=self.metrics,
            ahead=self.ahead,
            on_bug=self.bugs.append,
            on_waiting=self._waits,
            now=lambda: wall() - clock_behind,
            rng=rng,
        )
        self.feed = Feed(room, TOPIC, 0, self, FakeParking(durable), released=self._released)
        self._task: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def fresh(self) -> bool:
        return self.owns

    async def start(self) -> "Worker":
        self.dispatcher.start()
        await self.feed.recover()
        self._task = asyncio.create_task(self._run())
        self._watching = asyncio.create_task(self._watch())
        return self

    async def close(self) -> None:
        await self._halt()
        self._end_watch()
        await self.feed.close()

    async def crash(self) -> None:
        """As by kill -9: nothing of this worker happens any more."""
        self.owns = False
        await self._halt()
        self._end_watch()
        await self.feed.abandon()
        await self.dispatcher.stop()

    def _end_watch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            self.feed.watch()
            await asyncio.sleep(WATCH_SECONDS)

    async def _halt(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _waits(self, _partition: int, reason: str | None) -> None:
        self.waits_because = reason

    async def _released(self, _feed: Feed) -> None:
        await self.dispatcher.stop()

    async def _run(self) -> None:
        while True:
            records = self.durable.records[self._position : self._position + self._chunk]
            outstanding = sum(end - start for start, end in self._unfinished.items())
            if not records or outstanding >= self._max_outstanding:
                await asyncio.sleep(0.01)
                continue
            start, end = self._position, self._position + len(records)
            self._position = end
            self._unfinished[start] = end
            chunk = Chunk(TOPIC, 0, records, partial(self._done, start))
            await self.feed.process(chunk)

    def _done(self, start: int, _chunk: Chunk) -> None:
        if self._unfinished.pop(start, None) is not None and self.owns:
            self.durable.committed = max(self.durable.committed, min(self._unfinished, default=self._position))


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Polls in virtual time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "deadline passed"
        await asyncio.sleep(0.01)


def wanted_state(durable: Durable, where: Destination) -> dict[tuple[str, str], str]:
    """What the provider has to hold for every address, from the newest entries alone."""
    found: dict[tuple[str, str], str] = {}
    for key, entry in durable.entries.items():
        want = desired(
            entry.decisions,
            verdicts(entry.decisions),
            where.purposes,
            now=wall(),
            push_permissions=where.push_permissions and key.startswith("h1."),
        )
        found |= {(key, each.target): each.action for each in want.wanted}
    return found
