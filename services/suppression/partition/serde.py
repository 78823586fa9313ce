"""Serde of the merge: the bytes on the topics as changes and entries, and entries as records to write."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from consent_contracts import cloudevents, lane_header
from consent_contracts.codec import Codec
from consent_contracts.decisions import AddressEntry
from consent_contracts.errors import InvalidRecordError, UnreadableError
from consent_contracts.join import precedence
from consent_contracts.records import check_mark, entry_from_avro, entry_from_change, entry_to_avro
from consent_contracts.schemas import NAMESPACE
from consent_contracts.topics import Topics
from consent_kafka.batches import UNFETCHABLE
from consent_kafka.transport.compressed_batches import unfetchable_reason
from consent_service import trace_context
from suppression.errors import EntryUnreadableError
from suppression.merge.expiry import next_expiry, next_expiry_header
from suppression.merge.rule import EntryKey
from suppression.merge.size_limit import OVERFLOW_SUBJECT, reduce_to_limit
from suppression.partition.writer import Row
from suppression.resolved.list_state import ResolvedMark

MAX_ENTRY_BYTES = 131_072
"""Some 1,700 decisions. Each change of an address writes its whole entry again (docs/decisions/0012)."""

MAX_CHANGE_BYTES = 64_000
"""The API accepts a hundredth of it. So an entry can always be reduced to its own limit."""

MAX_LEAD_MICROS = 86_400_000_000
"""By how much the ledger's clock can be ahead of the brokers'. A smaller difference is for the checks of clocks."""

TARGET_FILL_RATIO = 0.9
"""How much of the limit a reduced entry fills: the next change to it need not be reduced again."""

_EVENT_TYPE = f"{NAMESPACE}.SuppressionEntry"
_RESOLVED = "ConsentResolved"


class ChangeRecord(Protocol):
    """What is read of a change; the transport's records have it."""

    @property
    def timestamp(self) -> int:
        """When the broker appended it, in milliseconds; not positive where that is not known."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class Rejected(NamedTuple):
    """A record for the dead letters, and why."""

    record: Any
    reason: str
    error: str


@dataclass(kw_only=True, slots=True)
class OutputBatch:
    """The records to write, the entries that they hold, and when those are `due` to be written again.

    `truncated` counts the entries that had to be made smaller.
    """

    rows: list[Row] = field(default_factory=list)
    entries: dict[EntryKey, AddressEntry] = field(default_factory=dict)
    due: dict[EntryKey, int] = field(default_factory=dict)
    truncated: int = 0


@dataclass(kw_only=True, slots=True)
class DecodedChanges:
    """What a chunk of records holds; `sources` are the records of `changes`, in step.

    `marks` are the ConsentResolved records among them, in order; `rewrites`, the positions of those changes after which
    the entry is written even if they add nothing.
    """

    changes: list[AddressEntry] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)
    marks: list[ResolvedMark] = field(default_factory=list)
    rewrites: set[int] = field(default_factory=set)
    rejected: list[Rejected] = field(default_factory=list)


class EntrySerde:
    """Changes in, entries out, for one partition."""

    def __init__(self, codec: Codec, topics: Topics, partition: int) -> None:
        self.topic_of: Mapping[str, str] = {channel: topics.suppression(channel) for channel in topics.channels}
        self._codec = codec
        self._changes_topic = topics.changes
        self._source = f"/consent-relay/suppression/{partition}"

    def decode_changes(self, records: Sequence[ChangeRecord]) -> DecodedChanges:
        """Records of either changes topic; what cannot be read is rejected with its reason. Raises
        RegistryUnavailableError.

        Both topics carry the same records, so one decoder serves them.
        """
        chunk = DecodedChanges()
        decode, topic, channels = self._codec.decode_record, self._changes_topic, self.topic_of
        read_at = time.monotonic()
        for record in records:
            if record.value is None and (reason := unfetchable_reason(record.headers)) is not None:
                chunk.rejected.append(Rejected(record, UNFETCHABLE, reason))
                continue
            try:
                if record.value is not None and len(record.value) > MAX_CHANGE_BYTES:
                    raise InvalidRecordError("value", f"must not exceed {MAX_CHANGE_BYTES} bytes")
                name, datum = decode(topic, record.value, read_at=read_at)
                if name == _RESOLVED:
                    check_mark(datum)
                    chunk.marks.append(ResolvedMark(**datum))
                    continue
                change = entry_from_change(datum)
                if change.decisions[0].subject_ref == OVERFLOW_SUBJECT:
                    raise InvalidRecordError("subject_ref", "must not be the reserved one")
                if record.timestamp > 0 and datum["recorded_at"] > record.timestamp * 1_000 + MAX_LEAD_MICROS:
                    # A time far ahead would outlive every later choice of the person.
                    raise InvalidRecordError("recorded_at", "must not be a day later than the record's append")
                if record.timestamp > 0 and (change.erased_at or 0) > record.timestamp * 1_000 + MAX_LEAD_MICROS:
                    raise InvalidRecordError("erased_at", "must not be a day later than the record's append")
                if change.channel not in channels:
                    raise InvalidRecordError("channel", f"is none of {', '.join(channels)}")
                if record.key != change.address_key.encode():
                    raise InvalidRecordError("address_key", "must be the record's key")
            except (UnreadableError, InvalidRecordError) as error:
                chunk.rejected.append(Rejected(record, error.reason, str(error)))
            else:
                if datum["rewrite"]:
                    chunk.rewrites.add(len(chunk.changes))
                chunk.changes.append(change)
                chunk.sources.append(record)
        return chunk

    def decode_entry(self, key: EntryKey, data: bytes) -> AddressEntry:
        """The entry of an address, as it came from the topic. Raises EntryUnreadableError, with the reason."""
        try:
            entry = entry_from_avro(self._codec.decode(self.topic_of[key[0]], data))
        except (UnreadableError, InvalidRecordError) as error:
            raise EntryUnreadableError(error.reason) from error
        if (entry.channel, entry.address_key) != key:
            raise EntryUnreadableError("it is stored under another key")
        return entry

    def encode_entries(
        self,
        entries: Mapping[EntryKey, AddressEntry],
        current: Mapping[EntryKey, AddressEntry],
        now: int,
        *,
        bulk: bool = False,
        rewrites: Collection[EntryKey] = frozenset(),
        traces: Mapping[EntryKey, bytes] | None = None,
    ) -> OutputBatch:
        """The records that bring these entries into the topics, each as much of its entry as a broker takes.

        What is the same as the `current` entry once it has been reduced is not written again, unless it is one of
        `rewrites`. `bulk`: no person waits for these entries now. `traces`: the header of the changes that bring them.
        """
        traces = traces or {}
        event = uuid.uuid4().hex
        common = [
            each
            for each in cloudevents.headers(
                event_id=event, event_type=_EVENT_TYPE, source=self._source, time_micros=now
            )
            if each[0] != "ce_id"
        ]
        if bulk:
            common.append(lane_header.BULK_HEADER)
        batch, encode = OutputBatch(), self._codec.encode
        for number, (key, entry) in enumerate(entries.items()):
            topic = self.topic_of[key[0]]
            datum = entry_to_avro(entry, now)
            value = encode(topic, datum)
            if len(value) > MAX_ENTRY_BYTES:
                entry = self._reduced(topic, entry, now)
                batch.truncated += 1
                if entry == current.get(key) and key not in rewrites:
                    continue
                datum = entry_to_avro(entry, now)
                value = encode(topic, datum)
            headers = [("ce_id", f"{event}-{number}".encode()), *common]
            due = next_expiry(entry, datum, now)
            if due is not None:
                headers.append(next_expiry_header(due))
                batch.due[key] = due
            if (traceparent := traces.get(key)) is not None:
                headers.append((trace_context.HEADER, traceparent))
            batch.rows.append(Row(topic, key[1].encode(), value, headers))
            batch.entries[key] = entry
        return batch

    def _reduced(self, topic: str, entry: AddressEntry, now: int) -> AddressEntry:
        def fits(smaller: AddressEntry) -> bool:
            return len(self._codec.encode(topic, entry_to_avro(smaller, now))) <= TARGET_FILL_RATIO * MAX_ENTRY_BYTES

        return reduce_to_limit(entry, fits)


def traces_of(chunk: DecodedChanges, entries: Mapping[EntryKey, AddressEntry]) -> dict[EntryKey, bytes]:
    """For each of these entries, the header with the trace of the newest decision of the chunk that it holds."""
    newest: dict[EntryKey, tuple[AddressEntry, bytes]] = {}
    for change, record in zip(chunk.changes, chunk.sources, strict=True):
        traceparent = trace_context.header_of(record.headers)
        if traceparent is None:
            continue
        key = (change.channel, change.address_key)
        entry = entries.get(key)
        if entry is None or not _holds(entry, change):
            continue
        known = newest.get(key)
        if known is None or _newest(known[0]) < _newest(change):
            newest[key] = change, traceparent
    return {key: traceparent for key, (_, traceparent) in newest.items()}


def _holds(entry: AddressEntry, change: AddressEntry) -> bool:
    if entry is change:
        return True
    held = {each.decision_id for each in entry.decisions}
    return not held.isdisjoint([each.decision_id for each in change.decisions])


def _newest(change: AddressEntry) -> Any:
    return max(map(precedence, change.decisions))


def tenant_mismatch(source: Any) -> Rejected:
    """A change that names another tenant than the entry of its address."""
    wrong = InvalidRecordError("tenant", "the entry of this address key belongs to another tenant")
    return Rejected(source, wrong.reason, str(wrong))
