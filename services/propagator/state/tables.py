"""One partition's tables: list entries, delivered rows and the pending index, changed together in one write.

Written by the reader thread alone; read from any thread. The tables change only by what is read from the topics, in the
active sender as in a standby. Each changed address is planned in the same write for each destination that it concerns.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from consent_contracts import lane_header
from consent_contracts.entry_layout import UNREADABLE
from consent_contracts.errors import InvalidRecordError, RegistryUnavailableError, UnreadableError
from consent_kafka import clients
from consent_service import trace_context
from consent_service.clock import now_micros
from consent_service.trace_context import TraceContext
from consent_state import Batch, Position, StateStore, TopicPartition, WriteBatch
from propagator.desired.model import SUPPRESS, DeliveredTarget, ListEntry
from propagator.sending.ports import Kind, PendingPush
from propagator.state import layout
from propagator.state.layout import PendingKey, StoredEntry
from propagator.state.planning import (
    PlannedDestination,
    RecordDecoder,
    is_unplanned,
    pending_of,
    plan_address,
    unplanned,
)
from propagator.state.rows import DestinationFill, parse_row_key

log = logging.getLogger(__name__)

Offers = dict[str, list[PendingPush]]
"""Pushes that are pending now, by destination."""

PLANNED_AT_ONCE = 100
"""Records in one application, beyond which bulk entries are stored first and planned afterwards: planning takes ten
times as long, and a live entry may follow them."""
_MILLI = 1_000
_FOREIGN_ROW = "a record of the state topic has a key that is not ours"


class UnreadableRecords(Protocol):
    """Where records go that can never be read. `key` and `value` are those of the record."""

    def report(
        self,
        at: TopicPartition,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        append_time: int,
        error: Exception,
    ) -> None:
        """Returns once a dead letter is acknowledged by the broker. Raises RestoreStoppedError when stopped before."""


class TableEvents(Protocol):
    """What the tables count."""

    def planning_failed(self, destination: str) -> None:
        """An exception while one address was planned."""

    def entry_unreadable(self, destination: str, reason: str) -> None:
        """An entry went to the dead letters."""

    def delivered_unreadable(self, destination: str) -> None:
        """A row of the state topic cannot be read: what was delivered is unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableTopics:
    """The topics that the tables are made of. `lists`: topic to channel, of the destinations' channels."""

    lists: Mapping[str, str]
    state: str
    resolved: str

    def of_partition(self, partition: int) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for topic in (*self.lists, self.state, self.resolved)]


class StoredAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The stored bytes of one address at one destination."""

    entry: StoredEntry | None
    delivered: bytes | None


@dataclass(kw_only=True, slots=True)
class Applied:
    """What a batch has changed, once it is written."""

    offers: Offers = field(default_factory=dict)
    fills_changed: bool = False
    resolved: list[tuple[int, bytes]] = field(default_factory=list)
    """Append time in micros and value of the ListResolved records read, in order."""
    newest_append: int = 0


class PartitionTables:
    """The tables of one partition."""

    def __init__(
        self,
        store: StateStore,
        partition: int,
        *,
        topics: TableTopics,
        destinations: Iterable[PlannedDestination],
        decoder: RecordDecoder,
        unreadable: UnreadableRecords,
        events: TableEvents,
        undurable: Callable[[str, str], Mapping[str, DeliveredTarget] | None],
        now: Callable[[], int] = now_micros,
    ) -> None:
        """`undurable` gives the rows of an address (destination, address key) that are not read back yet."""
        self.store = store
        self.partition = partition
        self.topics = topics
        self.destinations = {each.name: each for each in destinations}
        self._by_channel: dict[str, list[PlannedDestination]] = {}
        for each in self.destinations.values():
            self._by_channel.setdefault(each.channel, []).append(each)
        self._channel_topic = {channel: topic for topic, channel in topics.lists.items()}
        self._decoder = decoder
        self._unreadable = unreadable
        self._events = events
        self._undurable = undurable
        self._now = now
        self._counts: Counter[PendingKey] = Counter()
        self._heads: dict[PendingKey, bytes] = {}
        """No READY row is before this one. What was deleted before it, by the thousand while a fill is delivered, would
        be read past each time (RocksDB keeps a tombstone of each row until it compacts)."""
        self._fills: dict[str, DestinationFill] = {}
        self._retry_after: dict[str, bytes] = {}
        self._unplanned: Counter[str] = Counter()
        self._unplanned_from = dict.fromkeys(self._by_channel, b"")
        """By channel: no entry before this row is to be planned."""
        self.without_schema: set[str] = set()
        """Destinations with addresses that wait for the schema registry."""

    def load(self) -> None:
        """Read from the store what is kept in memory; to be called after it was opened, restored or cleared."""
        fills: dict[str, DestinationFill] = {}
        for name in self.destinations:
            fill = self._decode_fill(name, self.store.get([layout.delivered_key(name, "")])[0])
            if fill is not None:
                fills[name] = fill
        self._fills = fills  # At once: another thread asks meanwhile.
        self._forget_undeclared()
        self._forget_other_topics()
        counts: Counter[PendingKey] = Counter()
        for key, _ in self.store.scan(b"p", b"q"):
            if (counted := layout.counted_key(key)) is not None:
                counts[counted] += 1
        self._counts = counts
        self._heads = {}
        self._unplanned_from = dict.fromkeys(self._by_channel, b"")
        self._unplanned = Counter(
            {channel: sum(1 for _ in self._scan_unplanned(channel, None)) for channel in self._by_channel}
        )

    # Reading, from any thread.

    def fill(self, destination: str) -> DestinationFill | None:
        """The destination's own row in this partition."""
        return self._fills.get(destination)

    def get(self, destination: PlannedDestination, address_keys: Sequence[str]) -> list[StoredAddress]:
        """What is stored of these addresses, in order."""
        entries, rows = layout.entry_prefix(destination.channel), layout.delivered_prefix(destination.name)
        keys = [each.encode() for each in address_keys]
        found = self.store.get([prefix + key for prefix in (entries, rows) for key in keys])
        return [
            StoredAddress(entry=None if entry is None else layout.unpack_entry(entry), delivered=delivered)
            for entry, delivered in zip(found[: len(keys)], found[len(keys) :], strict=True)
        ]

    def ready(
        self, destination: str, *, live: bool, kind: Kind, skip_targets: Collection[str] = ()
    ) -> Iterator[PendingPush]:
        """The pushes of one class and kind that wait for no time, `oldest_first`; read as they are taken."""
        keys = self._pending_keys(destination, live, kind, skip_targets)
        return heapq.merge(*(self._pending_rows(key, layout.READY) for key in keys), key=oldest_first)

    def due(
        self, destination: str, *, live: bool, kind: Kind, due_by: int, skip_targets: Collection[str] = ()
    ) -> Iterator[PendingPush]:
        """Those that waited for a time until `due_by` (micros), in the order of these times; read as they are taken."""
        keys = self._pending_keys(destination, live, kind, skip_targets)
        return heapq.merge(*(self._pending_rows(key, layout.DUE, due_by=due_by) for key in keys), key=_not_before)

    def counts(self, destination: str) -> Counter[tuple[bool, Kind]]:
        """Pending rows by class and kind."""
        found: Counter[tuple[bool, Kind]] = Counter()
        for key, count in list(self._counts.items()):
            if key.destination == destination and count > 0:
                found[key.live, key.kind] += count
        return found

    def oldest(self, destination: str, *, live: bool, kind: Kind) -> int | None:
        """Since when the oldest of these rows is pending, in micros."""
        first = [
            row.since
            for key in self._pending_keys(destination, live, kind)
            for order in (layout.READY, layout.WAITING)
            for row in self._pending_rows(key, order, limit=1)
        ]
        return min(first, default=None)

    def unplanned(self, channel: str) -> int:
        """About how many bulk entries of the channel are stored and not planned yet."""
        return self._unplanned[channel]

    def is_planned(self, destination: PlannedDestination) -> bool:
        """Whether the pending index is complete: the last scan was one for all that the plans depend on now."""
        stored = self.store.get([layout.fingerprint_key(destination.name)])[0]
        return stored == self.fingerprint(destination)

    def fingerprint(self, destination: PlannedDestination) -> bytes:
        """Of all that the plans depend on beside the two states; the beginning of the fill is part of it."""
        fill = self._fills.get(destination.name)
        return f"{destination.fingerprint}:{0 if fill is None else fill.began_at}".encode()

    # Writing, from the reader thread.

    def apply(self, batches: Sequence[Batch]) -> Applied:
        """Bring records of this partition's topics into the tables, with their positions, in one write."""
        applied = Applied()
        changes: dict[bytes, bytes | None] = {}
        touched: dict[tuple[str, str], PlannedDestination] = {}
        may_defer = sum(len(batch.messages) for batch in batches) > PLANNED_AT_ONCE
        live: set[bytes | None] = set()
        for batch in batches:
            topic = batch.partition.topic
            for message in batch.messages:
                key, value, append_time = message.key(), message.value(), message.timestamp()[1] * _MILLI
                applied.newest_append = max(applied.newest_append, append_time)
                if topic == self.topics.state:
                    self._take_delivered(key or b"", value, changes, touched, applied)
                elif topic == self.topics.resolved:
                    if value:
                        changes[layout.RESOLVED_KEY] = layout.pack_resolved(append_time, value)
                        applied.resolved.append((append_time, value))
                else:
                    headers = clients.headers(message)
                    is_bulk = lane_header.is_bulk(headers)
                    if is_bulk and key in live:
                        # That the live revocation before it is pending shows in the index alone: see `_still_live`.
                        self._write(changes, touched, applied)
                        changes, touched, live = {}, {}, set()
                    elif not is_bulk:
                        live.add(key)
                    deferred = may_defer and is_bulk
                    trace = trace_context.of_headers(headers)
                    self._take_entry(message, key, value, append_time, trace, changes, touched, deferred=deferred)
        self._write(changes, touched, applied, {batch.partition: batch.position for batch in batches})
        return applied

    def _write(
        self,
        changes: Mapping[bytes, bytes | None],
        touched: Mapping[tuple[str, str], PlannedDestination],
        applied: Applied,
        positions: Mapping[TopicPartition, Position] | None = None,
    ) -> None:
        writes = self.store.batch()
        for changed_key, changed in changes.items():
            if changed is None:
                writes.delete(changed_key)
            else:
                writes.put(changed_key, changed)
        self._purge_erased(changes, writes)
        counted = self._replan(touched, changes, writes, applied.offers)
        self.store.write(writes, positions=positions)
        self._counts += counted

    def replan(
        self, addresses: Iterable[tuple[PlannedDestination, str]], known: Mapping[bytes, bytes | None]
    ) -> Offers:
        """Plan these addresses again; `known` holds rows of the store that were read already."""
        offers: Offers = {}
        writes = self.store.batch()
        touched = {(destination.name, address_key): destination for destination, address_key in addresses}
        counted = self._replan(touched, known, writes, offers)
        if len(writes):
            self.store.write(writes)
            self._counts += counted
        return offers

    def retry_unplanned(self, limit: int) -> Offers:
        """Plan some of those addresses again that could not be planned; the next call goes on after them."""
        self.without_schema.clear()
        addresses: list[tuple[PlannedDestination, str]] = []
        for name, destination in self.destinations.items():
            counted = PendingKey(destination=name, live=True, kind="record", target="")
            prefix = layout.pending_prefix(counted)
            start = self._retry_after.get(name, prefix + layout.READY)
            rows = list(self.store.scan(start, layout.after(prefix + layout.READY), limit))
            if len(rows) < limit:
                self._retry_after.pop(name, None)
            else:
                self._retry_after[name] = rows[-1][0] + b"\0"
            addresses += (
                (destination, layout.pending_push(counted, len(prefix), key, value).address_key) for key, value in rows
            )
        return self.replan(addresses, {}) if addresses else {}

    def plan_deferred(self, limit: int) -> Offers:
        """Plan some of the bulk entries that were stored without being planned."""
        offers: Offers = {}
        writes = self.store.batch()
        counted: Counter[PendingKey] = Counter()
        read_to: dict[str, bytes] = {}
        for channel, destinations in self._by_channel.items():
            if not self._unplanned[channel]:
                continue
            rows = [key for key, _ in self._scan_unplanned(channel, limit)]
            read_to[channel] = rows[-1] + b"\0" if len(rows) == limit else b""
            prefix = len(layout.unplanned_prefix(channel))
            touched = {(each.name, key[prefix:].decode()): each for key in rows for each in destinations}
            counted.update(self._replan(touched, {}, writes, offers))  # Not +=, which drops what is negative.
            for key in rows:
                writes.delete(key)
            self._unplanned[channel] = max(1, self._unplanned[channel] - len(rows)) if len(rows) == limit else 0
        if len(writes):
            self.store.write(writes)
            self._counts += counted
        self._unplanned_from.update(read_to)
        return offers

    def advance_heads(self) -> None:
        """Find the first rows of the pending index again, so that reading it stays cheap; every few seconds."""
        for key, count in self._counts.items():
            if count > 0:
                start, stop = self._ready_range(key)
                for row, _ in self.store.scan(start, stop, 1):
                    self._heads[key] = row

    def mark_planned(self, destination: PlannedDestination, fingerprint: bytes) -> None:
        """The scan for this fingerprint has ended."""
        writes = self.store.batch()
        writes.put(layout.fingerprint_key(destination.name), fingerprint)
        self.store.write(writes)

    def begin_bulk(self) -> None:
        """Records are about to be stored without being planned: the index has to be made by a scan afterwards."""
        writes = self.store.batch()
        writes.delete_range(b"f", b"g")
        writes.delete_range(b"u", b"v")  # The scan plans every entry.
        self.store.write(writes)

    def apply_unplanned(self, batch: Batch, writes: WriteBatch) -> None:
        """Records of a bulk restore, as they are: nothing is decoded and nothing planned."""
        topic, put, delete = batch.partition.topic, writes.put, writes.delete
        if topic == self.topics.state:
            for message in batch.messages:
                parsed, value = parse_row_key(message.key() or b""), message.value()
                if parsed is None:
                    log.error(_FOREIGN_ROW)
                elif value is None:
                    delete(layout.delivered_key(*parsed))
                else:
                    put(layout.delivered_key(*parsed), value)
        elif topic == self.topics.resolved:
            for message in batch.messages:
                if message.value():
                    put(layout.RESOLVED_KEY, layout.pack_resolved(message.timestamp()[1] * _MILLI, message.value()))
        else:
            channel, pack, erased_at = self.topics.lists[topic], layout.pack_entry_fields, self._decoder.erased_at
            prefix = layout.entry_prefix(channel)
            for message in batch.messages:
                key, value, append_time = message.key(), message.value(), message.timestamp()[1] * _MILLI
                if not key or not key.isascii():
                    self._report_key(message, append_time)
                elif value is None:
                    delete(prefix + key)
                    writes.purge(prefix + key)
                else:
                    put(prefix + key, pack(message.offset(), append_time, value))
                    if erased_at(channel, key, value) is not None:
                        writes.purge(prefix + key)  # An older record of the address may just have been stored.

    def resolved(self) -> tuple[int, bytes] | None:
        """Append time in micros and value of the newest ListResolved record that was read."""
        stored = self.store.get([layout.RESOLVED_KEY])[0]
        return None if stored is None else layout.unpack_resolved(stored)

    def _take_entry(
        self,
        message: Any,
        key: bytes | None,
        value: bytes | None,
        append_time: int,
        trace: TraceContext | None,
        changes: dict[bytes, bytes | None],
        touched: dict[tuple[str, str], PlannedDestination],
        *,
        deferred: bool,
    ) -> None:
        channel = self.topics.lists[message.topic()]
        try:
            address_key = (key or b"").decode("ascii")
        except UnicodeDecodeError:
            address_key = ""
        if not address_key:
            self._report_key(message, append_time)
            return
        traceparent = None if trace is None else str(trace)
        stored = None if value is None else layout.pack_entry_fields(message.offset(), append_time, value, traceparent)
        changes[layout.entry_key(channel, address_key)] = stored
        if deferred:
            unplanned_key = layout.unplanned_key(channel, address_key)
            changes[unplanned_key] = b""
            self._unplanned[channel] += 1
            self._unplanned_from[channel] = min(self._unplanned_from[channel], unplanned_key)
            return
        for destination in self._by_channel[channel]:
            touched[destination.name, address_key] = destination

    def _purge_erased(self, changes: Mapping[bytes, bytes | None], writes: WriteBatch) -> None:
        """What an erasure replaces leaves the files too; once, not with each later change of the entry."""
        erased = {key: self._erased_at(key, stored) for key, stored in changes.items() if layout.is_entry(key)}
        suspected = {key: moment for key, moment in erased.items() if moment is not None}
        for (key, moment), before in zip(suspected.items(), self.store.get(list(suspected)), strict=True):
            if before is not None and (moment == UNREADABLE or self._erased_at(key, before) != moment):
                writes.purge(key)

    def _erased_at(self, key: bytes, stored: bytes | None) -> int | None:
        """As `RecordDecoder.erased_at`, of a row."""
        if stored is None:
            return UNREADABLE
        channel, address_key = layout.parse_entry_key(key)
        return self._decoder.erased_at(channel, address_key, layout.entry_value(stored))

    def _report_key(self, message: Any, append_time: int) -> None:
        at = TopicPartition(message.topic(), self.partition)
        error = UnreadableError("not_framed", "the record's key is no address key")
        self._unreadable.report(at, message.offset(), message.key(), message.value(), append_time, error)

    def _take_delivered(
        self,
        key: bytes,
        value: bytes | None,
        changes: dict[bytes, bytes | None],
        touched: dict[tuple[str, str], PlannedDestination],
        applied: Applied,
    ) -> None:
        parsed = parse_row_key(key)
        if parsed is None:
            log.error(_FOREIGN_ROW)
            return
        name, address_key = parsed
        changes[layout.delivered_key(name, address_key)] = value
        destination = self.destinations.get(name)
        if destination is None:
            return  # Kept until it is forgotten or declared again.
        if address_key:
            touched[name, address_key] = destination
        else:
            self._load_fill(name, value)
            applied.fills_changed = True

    def _replan(
        self,
        touched: Mapping[tuple[str, str], PlannedDestination],
        known: Mapping[bytes, bytes | None],
        writes: WriteBatch,
        offers: Offers,
    ) -> Counter[PendingKey]:
        """Plan these addresses into `writes` and `offers`; what changes in the counts, once it is written."""
        counted: Counter[PendingKey] = Counter()
        if not touched:
            return counted
        rows, read_at = self._read(touched, known), time.monotonic()
        entries: dict[tuple[str, str], ListEntry | Exception | None] = {}
        for (name, address_key), destination in touched.items():
            at = (destination.channel, address_key)
            stored = rows[layout.entry_key(*at)]
            if at not in entries:
                entries[at] = self._decode_entry(*at, stored, writes, read_at)
            since = 0 if stored is None else layout.unpack_entry(stored).append_time
            row = self._decode_delivered(name, rows[layout.delivered_key(name, address_key)], read_at)
            indexed = layout.unpack_pending_keys(rows[layout.pending_keys_key(name, address_key)])
            planned = self._still_live(name, self._plan(destination, address_key, entries[at], row, since), indexed)
            kept = self._kept(name, address_key, planned, indexed)
            self._index(name, address_key, [*planned, *kept], indexed, writes, counted)
            undurable = self._undurable(name, address_key)
            if undurable is not None and undurable != row:
                # The index follows the topics alone; what is delivered and not read back yet is what counts, and where
                # it differs from the list that shall not wait until it is read back.
                planned = self._plan(destination, address_key, entries[at], undurable, since)
                planned = self._still_live(name, planned, indexed)
            if work := [push for push in planned if push.kind != "impossible"]:
                offers.setdefault(name, []).extend(work)
        return counted

    def _read(
        self, touched: Mapping[tuple[str, str], PlannedDestination], known: Mapping[bytes, bytes | None]
    ) -> dict[bytes, bytes | None]:
        keys: dict[bytes, None] = {}
        for (name, address_key), destination in touched.items():
            keys[layout.entry_key(destination.channel, address_key)] = None
            keys[layout.delivered_key(name, address_key)] = None
            keys[layout.pending_keys_key(name, address_key)] = None
        missing = [key for key in keys if key not in known]
        return {key: known.get(key) for key in keys} | dict(zip(missing, self.store.get(missing), strict=True))

    def _decode_entry(
        self, channel: str, address_key: str, stored: bytes | None, writes: WriteBatch, read_at: float
    ) -> ListEntry | Exception | None:
        if stored is None:
            return None
        entry = layout.unpack_entry(stored)
        try:
            return self._decoder.entry(
                channel,
                address_key,
                entry.value,
                append_time=entry.append_time,
                traceparent=entry.traceparent,
                read_at=read_at,
            )
        except (UnreadableError, InvalidRecordError) as error:
            if not entry.reported:
                at = TopicPartition(self._channel_topic[channel], self.partition)
                self._unreadable.report(at, entry.offset, address_key.encode(), entry.value, entry.append_time, error)
                writes.put(layout.entry_key(channel, address_key), layout.pack_reported(stored))
                for destination in self._by_channel[channel]:
                    self._events.entry_unreadable(destination.name, error.reason)
            return error
        except Exception as error:
            return error

    def _decode_delivered(
        self, name: str, stored: bytes | None, read_at: float
    ) -> Mapping[str, DeliveredTarget] | Exception:
        try:
            return self._decoder.delivered(stored, read_at=read_at)
        except UnreadableError:
            self._events.delivered_unreadable(name)
            return {}
        except Exception as error:
            return error

    def _plan(
        self,
        destination: PlannedDestination,
        address_key: str,
        entry: ListEntry | Exception | None,
        delivered: Mapping[str, DeliveredTarget] | Exception,
        since: int,
    ) -> list[PendingPush]:
        """The pending rows. An exception concerns this address alone: it is kept pending and planned again later."""
        if isinstance(entry, (UnreadableError, InvalidRecordError)):
            return []  # Nothing is known of the address: nothing is pushed, and nothing is forgotten.
        try:
            if isinstance(entry, Exception):
                raise entry
            if isinstance(delivered, Exception):
                raise delivered
            if entry is None and not delivered:
                return []
            fill = self._fills.get(destination.name)
            began_at = 0 if fill is None else fill.began_at
            planned = plan_address(destination, entry, delivered, fill_began_at=began_at, now=self._now())
            return pending_of(address_key, planned)
        except RegistryUnavailableError:
            self.without_schema.add(destination.name)
            return [unplanned(address_key, since)]
        except Exception as error:
            self._events.planning_failed(destination.name)
            log.error(
                "an address cannot be planned",
                extra={"destination": destination.name, "error": type(error).__name__},
            )
            return [unplanned(address_key, since)]

    def _still_live(self, name: str, planned: list[PendingPush], indexed: Sequence[bytes]) -> list[PendingPush]:
        """A live revocation of since the last fill stays live, and pending since then, until it is delivered. What
        states it again, at a later time, replaces it in the entry: an import would make it bulk."""
        if not planned or not indexed:
            return planned
        since = self._live_since(name, indexed)
        return [
            msgspec.structs.replace(push, live=True, since=min(push.since, since[push.target]))
            if push.kind == SUPPRESS and push.target in since
            else push
            for push in planned
        ]

    def _kept(
        self, name: str, address_key: str, planned: Sequence[PendingPush], indexed: Sequence[bytes]
    ) -> list[PendingPush]:
        """The live revocations of an address that cannot be planned now: they stay pending until it is known that they
        are not. No sender finds them: it could not plan the address either."""
        if not any(map(is_unplanned, planned)):
            return []
        return [
            PendingPush(
                address_key=address_key, target=target, kind=SUPPRESS, live=True, since=since, not_before=layout.NEVER
            )
            for target, since in self._live_since(name, indexed).items()
        ]

    def _live_since(self, name: str, indexed: Sequence[bytes]) -> dict[str, int]:
        """By target: since when a live revocation of since the last fill is pending."""
        fill = self._fills.get(name)
        return layout.live_revocations(indexed, after=0 if fill is None else fill.began_at)

    def _index(
        self,
        name: str,
        address_key: str,
        planned: Sequence[PendingPush],
        indexed: Sequence[bytes],
        writes: WriteBatch,
        counted: Counter[PendingKey],
    ) -> None:
        before = set(indexed)
        rows = dict(row for push in planned for row in layout.pending_rows(name, push))
        if not before and not rows:
            return
        for key in before - rows.keys():
            writes.delete(key)
            if (gone := layout.counted_key(key)) is not None:
                counted[gone] -= 1
        for key, value in rows.items():
            writes.put(key, value)
            if key not in before and (new := layout.counted_key(key)) is not None:
                counted[new] += 1
                if key < self._heads.get(new, b""):
                    self._heads[new] = key  # Before it is written, as another thread reads from there.
        keys_key = layout.pending_keys_key(name, address_key)
        if rows:
            writes.put(keys_key, layout.pack_pending_keys(list(rows)))
        else:
            writes.delete(keys_key)

    def _decode_fill(self, name: str, value: bytes | None) -> DestinationFill | None:
        try:
            return self._decoder.fill(value)
        except UnreadableError:
            self._events.delivered_unreadable(name)
            return None

    def _load_fill(self, name: str, value: bytes | None) -> None:
        fill = self._decode_fill(name, value)
        if fill is None:
            self._fills.pop(name, None)
        else:
            self._fills[name] = fill

    def _forget_undeclared(self) -> None:
        """What is no longer declared is not planned any more, so an index of it would be wrong when it comes back."""
        writes = self.store.batch()
        for key, _ in self.store.scan(b"f", b"g"):
            name = key[1:].decode()
            if name not in self.destinations:
                writes.delete(key)
                pending = b"p" + name.encode() + b"\0"
                writes.delete_range(pending, layout.after(pending))
                writes.delete_range(layout.pending_keys_prefix(name), layout.after(layout.pending_keys_prefix(name)))
        if len(writes):
            self.store.write(writes)

    def _forget_other_topics(self) -> None:
        """A topic that is read no more drops tombstones that are never seen here, so its entries would be wrong when it
        is declared again: it is read from its beginning then."""
        others = self.store.positions.keys() - set(self.topics.of_partition(self.partition))
        if not others:
            return
        writes = self.store.batch()
        for table in (b"e", b"u"):
            for start, stop in layout.rows_of_others(table, self.topics.lists.values()):
                writes.delete_range(start, stop)
                writes.purge_range(start, stop)  # No erasure reaches them any more.
        self.store.write(writes, forgotten=others)

    def _scan_unplanned(self, channel: str, limit: int | None) -> Iterator[tuple[bytes, bytes]]:
        prefix = layout.unplanned_prefix(channel)
        return self.store.scan(max(prefix, self._unplanned_from[channel]), layout.after(prefix), limit)

    def _pending_keys(
        self, destination: str, live: bool, kind: Kind, skip_targets: Collection[str] = ()
    ) -> list[PendingKey]:
        return [
            key
            for key, count in list(self._counts.items())
            if count > 0
            and (key.destination, key.live, key.kind) == (destination, live, kind)
            and key.target not in skip_targets
        ]

    def _pending_rows(
        self, key: PendingKey, order: bytes, *, due_by: int | None = None, limit: int | None = None
    ) -> Iterator[PendingPush]:
        prefix = layout.pending_prefix(key)
        start, stop = prefix + order, layout.after(prefix + order)
        if order == layout.READY:
            start, stop = self._ready_range(key)
        elif due_by is not None:
            stop = layout.due_until(start, due_by)
        for row, value in self.store.scan(start, stop, limit):
            yield layout.pending_push(key, len(prefix), row, value)

    def _ready_range(self, key: PendingKey) -> tuple[bytes, bytes]:
        prefix = layout.pending_prefix(key) + layout.READY
        return self._heads.get(key, prefix), layout.after(prefix)


def oldest_first(push: PendingPush) -> tuple[int, str]:
    """The order of pushes that may go; those of one address are together where they are pending since the same time."""
    return push.since, push.address_key


def _not_before(push: PendingPush) -> int:
    return push.not_before
