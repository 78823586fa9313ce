"""SuppressionView: one channel's list in memory, which knows how old the ledger in it is (R31, R63)."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from consent_client.entry_encoding import UNREADABLE, EntryEncoding
from consent_client.errors import NotEncodableError, RestartRequiredError
from consent_client.key_ids import KeyIds
from consent_client.reading_thread import TURN_SECONDS, ReadingThread
from consent_client.snapshot import ListSnapshot
from consent_client.timestamps import ResolvedTimestamps
from consent_client.topic_reader import TopicReader, record_coordinates
from consent_contracts.codec import Codec
from consent_contracts.errors import RegistryUnavailableError, UnreadableError
from consent_contracts.reading import Verdict
from consent_contracts.topics import Topics
from consent_kafka.resolved import ListResolved, ResolvedPartition, StalenessLimits
from consent_privacy.keyring import Keyring
from consent_service.clock import elapsed_micros, now_micros

log = logging.getLogger(__name__)

_PROBE_SECONDS = 1.0
_ADOPT_MICROS = 50_000
"""Between two looks for records whose offsets are reached; a batch of records may take less."""

_READ_AGAIN_AFTER = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewState:
    """`usable`: every address can be answered. Otherwise `reason` names the stage and the partitions: loading, failed,
    or a hindrance of `consent_kafka.resolved`.

    `age_seconds`: of the ledger in the oldest partition. `hindrances`: partitions that are not answered from, by stage.
    """

    usable: bool
    reason: str
    age_seconds: float | None
    entries: int
    unreadable: int
    hindrances: Mapping[str, list[int]] = field(default_factory=dict)


class ListReading:
    """What one reading of the topic has come to."""

    def __init__(self, reader: TopicReader) -> None:
        self.reader = reader
        self.entries: dict[bytes, bytes] = {}
        self.unreadable = 0


class SuppressionView:
    """All entries of one channel, and how old the ledger is that they reflect.

    An address may be answered while its partition holds all that was acknowledged up to `limits` ago, by the resolved
    timestamps, and has no hole.

    One thread reads, and the thread of `timestamps` calls `receive`; any number may ask. A tombstone removes an entry;
    a record that cannot be read leaves a mark in the entry's place, so that it denies until a readable one replaces
    it."""

    def __init__(
        self,
        channel: str,
        *,
        topics: Topics,
        codec: Codec,
        bootstrap: str,
        timestamps: ResolvedTimestamps,
        client_config: Mapping[str, Any] | None = None,
        limits: StalenessLimits | None = None,
        clock: Callable[[], int] = now_micros,
        elapsed: Callable[[], int] = elapsed_micros,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_turn` is called several times a second while the reading thread lives, from that thread."""
        self.channel = channel
        self.limits = limits or StalenessLimits()
        self.elapsed = elapsed
        self._topic = topics.suppression(channel)
        self._group = topics.group(f"view-{channel}")
        self._codec = codec
        self._bootstrap = bootstrap
        self._client_config = dict(client_config or {})
        self._clock = clock
        self._on_turn = on_turn
        self._encoding = EntryEncoding()
        self.key_ids = KeyIds()
        self._lock = threading.Lock()
        self._reading: ListReading | None = None
        self._resolved: defaultdict[int, ResolvedPartition] = defaultdict(ResolvedPartition)
        self._snapshot: ListSnapshot | None = None
        self._changed = threading.Condition()
        self._thread = ReadingThread(
            name=f"view-{channel}", topic=self._topic, read=self._read, on_turn=on_turn, on_failure=self._announce
        )
        self.timestamps = timestamps
        timestamps.follow(self.receive)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._thread.close()

    @property
    def failure(self) -> BaseException | None:
        """What has ended the reading thread: a fault of ours, or LinkRefusedError before it has read anything."""
        return self._thread.failure

    @property
    def restarted_for(self) -> str | None:
        """Why the topic was last read from its beginning again: while the list is loading, what it waits for."""
        return self._thread.restarted_for

    def wait_until_usable(self, seconds: float) -> bool:
        """Whether it became usable in time. Raises what made the reading thread fail."""
        with self._changed:
            self._changed.wait_for(lambda: self.usable or self.failure is not None, seconds)
        if self.failure is not None:
            raise self.failure
        return self.usable

    @property
    def usable(self) -> bool:
        """Whether every address can be answered now."""
        snapshot = self.snapshot()
        return snapshot is not None and self.elapsed() <= snapshot.usable_until

    @property
    def state(self) -> ViewState:
        reading, snapshot, elapsed = self._reading, self.snapshot(), self.elapsed()
        hindrances = {} if snapshot is None else snapshot.hindrances(elapsed)
        reason = "; ".join(f"{stage}: partition {_numbers(which)}" for stage, which in hindrances.items())
        if self.failure is not None:
            reason = "failed"
        elif snapshot is None or reading is None or (hindrances and reading.reader.freshness.as_of is None):
            reason = "loading"
        return ViewState(
            usable=not reason,
            reason=reason,
            age_seconds=None if snapshot is None else self._age_seconds(snapshot, elapsed),
            entries=0 if reading is None else len(reading.entries),
            unreadable=0 if reading is None else reading.unreadable,
            hindrances=hindrances,
        )

    def snapshot(self) -> ListSnapshot | None:
        """The list as it is now; None while it is not loaded at all. Ask again for each batch of look-ups."""
        return None if self.failure is not None else self._snapshot

    def receive(self, record: ListResolved) -> None:
        """A resolved record was read. From the thread that reads them."""
        with self._lock:
            self._resolved[record.partition].receive(record, elapsed=self.elapsed())
            self._renew([record.partition])
        self._announce()

    def verdict(self, packed: bytes, purpose: str) -> Verdict | None:
        """What a packed entry says about `purpose`, not yet looked at for expiry; None when it is unreadable."""
        return self._encoding.verdict(packed, purpose) if packed else None

    def tenant(self, packed: bytes) -> str | None:
        """Whose entry it is; None when it is unreadable."""
        return self._encoding.tenant(packed) if packed else None

    def newest_key_id(self, tenant: str) -> str | None:
        """The id of the newest hash key that any entry of `tenant` was seen under."""
        return self.key_ids.newest(tenant)

    def newer_key_in_use(self, tenant: str, keyring: Keyring) -> str | None:
        """The id of a hash key of `tenant` that is in use and newer than all that `keyring` has."""
        return self.key_ids.newer_in_use(tenant, keyring)

    def _read(self) -> None:
        reader = TopicReader(
            self._topic,
            bootstrap=self._bootstrap,
            group=self._group,
            client_config=self._client_config,
            probe_seconds=_PROBE_SECONDS,
            clock=self._elapsed_seconds,
        )
        self._thread.connected = True
        try:
            self.begin(reading := ListReading(reader))
            adopted_at = 0
            while not self._thread.stopping.is_set():
                self._on_turn()
                messages, read_at = reader.read(TURN_SECONDS), time.monotonic()
                for message in messages:
                    if message.error() is None:
                        self._apply(reading, message, read_at)
                    reader.done(message)
                reader.freshness.update()
                self._check_absence(reader)
                if self.elapsed() - adopted_at >= _ADOPT_MICROS:
                    adopted_at = self.elapsed()
                    self.adopt(range(reader.partitions))
                    self._announce()
        finally:
            self.begin(None)
            reader.close()

    def begin(self, reading: ListReading | None) -> None:
        """A reading of the topic begins; None: it is not read any more. What the last reading has adopted says nothing
        of another one. From the thread that reads."""
        with self._lock:
            self._reading = reading
            if reading is not None:
                self.key_ids = KeyIds()
            for resolved in self._resolved.values():
                resolved.restart()
            self._renew(())

    def adopt(self, partitions: Iterable[int]) -> None:
        """Answer from what these partitions have reached. From the thread that reads."""
        with self._lock:
            self._renew(partitions)

    def _renew(self, partitions: Iterable[int]) -> None:
        """Adopt what these partitions have reached, and replace the snapshot. Under the lock."""
        reading = self._reading
        if reading is None:
            self._snapshot = None
            return
        reader = reading.reader
        for partition in partitions:
            if partition < reader.partitions:
                positions = {self._topic: reader.position(partition)}
                self._resolved[partition].advance(positions, clock=self._clock(), elapsed=self.elapsed())
        recency = (self._resolved[number].recency(self.channel, self.limits) for number in range(reader.partitions))
        self._snapshot = ListSnapshot(reading.entries, tuple(recency))

    def _check_absence(self, reader: TopicReader) -> None:
        """Tombstones stay for seven days only; who could not read for long may have missed some."""
        as_of = reader.freshness.as_of
        if as_of is not None and self._elapsed_seconds() - as_of > _READ_AGAIN_AFTER:
            raise RestartRequiredError("not read for too long")

    def _elapsed_seconds(self) -> float:
        return self.elapsed() / 1_000_000

    def _age_seconds(self, snapshot: ListSnapshot, elapsed: int) -> float | None:
        ages = [each.age(self.limits, elapsed) for each in snapshot.partitions]
        known = [each for each in ages if each is not None]
        return max(known) / 1_000_000 if len(known) == len(ages) else None

    def _announce(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _apply(self, reading: ListReading, message: Message, read_at: float) -> None:
        key, value = message.key(), message.value()
        if not isinstance(key, bytes):
            # Nothing could be found under it, and the broker refuses such a record on a compacted topic.
            log.error("a record without key on the list", extra=record_coordinates(message))
            return
        packed = None if value is None else self._packed(key, value, message, read_at)
        entries = reading.entries
        before = entries.get(key)
        reading.unreadable += (packed == UNREADABLE) - (before == UNREADABLE)
        if before:
            self.key_ids.remove(self._encoding.tenant(before), key)
        if packed:
            self.key_ids.add(self._encoding.tenant(packed), key)
        if packed is None:
            entries.pop(key, None)
        else:
            entries[key] = packed

    def _packed(self, key: bytes, value: bytes, message: Message, read_at: float) -> bytes:
        while True:
            try:
                entry = self._codec.decode(self._topic, value, read_at=read_at)
                if entry["address_key"].encode() != key or entry["channel"] != self.channel:
                    raise NotEncodableError("the entry is not that of its key and channel")
                return self._encoding.encode(entry)
            except (UnreadableError, NotEncodableError) as error:
                log.error(
                    "an entry cannot be read and denies", extra={**record_coordinates(message), "error": str(error)}
                )
                return UNREADABLE
            except RegistryUnavailableError:
                # A schema newer than this process, and no registry to ask. The reading waits until it is back, and
                # the view ages.
                self._thread.pause()


def _numbers(partitions: list[int]) -> str:
    return ", ".join(map(str, partitions))
