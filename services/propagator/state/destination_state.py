"""One destination's state as sending sees it: the tables of all partitions, and rows that are not read back yet."""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import TypeVar

from consent_contracts.partitioner import partition_of
from consent_service.clock import now_micros
from consent_state import StateError, StateStoreCorruptedError
from propagator.desired.model import DeliveredTarget
from propagator.desired.receipt import Receipt
from propagator.errors import SenderFencedError, SendNotAllowedError
from propagator.sending.ports import Current, Kind, PendingPush
from propagator.state.committer import OutgoingRecord
from propagator.state.overlay import UndurableRow
from propagator.state.planning import PlannedDestination, RecordDecoder, plan_address
from propagator.state.reader import StateReader
from propagator.state.records import RecordBuilder
from propagator.state.session import SenderSession
from propagator.state.tables import PartitionTables, StoredAddress, oldest_first

log = logging.getLogger(__name__)

RESTORING = "restoring"
TOO_LARGE = "row_too_large"

T = TypeVar("T")


class TableDestinationState:
    """Implements `sending.ports.DestinationState`. Used on the event loop."""

    def __init__(
        self,
        destination: PlannedDestination,
        *,
        reader: StateReader,
        decoder: RecordDecoder,
        session: SenderSession,
        records: RecordBuilder,
        now: Callable[[], int] = now_micros,
    ) -> None:
        self._destination = destination
        self._name = destination.name
        self._reader = reader
        self._decoder = decoder
        self._session = session
        self._records = records
        self._now = now
        self._together: dict[str, StoredAddress] = {}

    @contextmanager
    def together(self, address_keys: Sequence[str]) -> Iterator[None]:
        """Within the block, which waits for nothing, these addresses are read from the tables at once.

        That costs a tenth of reading one after the other. Rows that are recorded meanwhile are seen, and none leaves
        the memory for the tables before the event loop goes on."""
        if len(address_keys) > 1:
            self._together = self._unless_damaged(lambda: self._read(address_keys), {})
        try:
            yield
        finally:
            self._together = {}

    def current(self, address_key: str) -> Current:
        """Both states and their difference. Raises RegistryUnavailableError, UnreadableError and InvalidRecordError for
        an entry that cannot be decoded, StateError while local state is damaged."""
        destination, tables = self._destination, self._tables(address_key)
        stored = self._get(address_key)
        entry = None
        if stored.entry is not None:
            entry = self._decoder.entry(
                destination.channel,
                address_key,
                stored.entry.value,
                append_time=stored.entry.append_time,
                traceparent=stored.entry.traceparent,
            )
        delivered = self._delivered(address_key, stored.delivered)
        fill = tables.fill(self._name)
        began_at = 0 if fill is None else fill.began_at
        planned = plan_address(destination, entry, delivered, fill_began_at=began_at, now=self._now())
        return Current(
            entry=entry,
            plan=planned,
            delivered=delivered,
            newest_append=self._reader.newest_append,
            fill_began_at=began_at,
        )

    def pending(
        self, *, live: bool, kind: Kind, limit: int, due_by: int, skip_targets: Collection[str] = ()
    ) -> Sequence[PendingPush]:
        """The oldest pushes that can be worked on now; none while local state is damaged or restored.

        Of those that waited for a time the first `limit` by these times take part, so that a call reads little more
        than `limit` rows of each, however many wait."""
        name = self._name
        tables = [each for each in self._reader.tables if kind != "permit" or self._hindrance(each.partition) is None]

        def read() -> list[PendingPush]:
            due = [each.due(name, live=live, kind=kind, due_by=due_by, skip_targets=skip_targets) for each in tables]
            waited = sorted(islice(filter(self._may_go, heapq.merge(*due, key=_not_before)), limit), key=oldest_first)
            ready = [each.ready(name, live=live, kind=kind, skip_targets=skip_targets) for each in tables]
            others = filter(self._may_go, heapq.merge(*ready, key=oldest_first))
            return list(islice(heapq.merge(waited, others, key=oldest_first), limit))

        return self._unless_damaged(read, [])

    def record(
        self, address_key: str, row: DeliveredTarget | None, *, target: str, receipts: Sequence[Receipt] = ()
    ) -> None:
        """The target's new row (None: dropped) and its receipts. Raises SenderFencedError."""
        rows = dict(self._delivered_now(address_key))
        if self._reader.restoring:
            # Rows read from tables that are being restored would overwrite those of the address's other targets.
            raise SenderFencedError("the tables are being restored")
        if row is None:
            rows.pop(target, None)
        else:
            rows[target] = row
        self._put(address_key, rows, receipts)

    async def record_now(self, address_key: str, row: DeliveredTarget, *, target: str) -> None:
        """As `record`; returns once it is committed. Raises SenderFencedError, and SendNotAllowedError for a row that
        is too large for its topic."""
        self.record(address_key, row, target=target)
        await self._session.commit()
        if self._session.is_too_large(self._name, address_key):
            raise SendNotAllowedError

    def record_receipts(self, address_key: str, receipts: Sequence[Receipt]) -> None:
        """Receipts that change no row. Raises SenderFencedError."""
        self._session.put_receipts(self._receipts(receipts))

    def forget(self, address_key: str) -> None:
        """Tombstone the rows of an address. Raises SenderFencedError."""
        self._put(address_key, {}, ())

    def permission_hindrance(self, address_key: str) -> str | None:
        """Why no permission may be sent for this address now; None: it may."""
        if self._session.is_too_large(self._name, address_key):
            return TOO_LARGE  # That it is in doubt cannot be committed.
        return self._hindrance(self._partition(address_key))

    def may_send(self) -> bool:
        """Whether this process surely is the active sender."""
        return self._session.may_send()

    def counts(self) -> Mapping[tuple[bool, Kind], int]:
        """Rows of the pending index by class and kind."""
        found: Counter[tuple[bool, Kind]] = Counter()
        for tables in self._reader.tables:
            found += tables.counts(self._name)
            if unplanned := tables.unplanned(self._destination.channel):
                found[False, "record"] += unplanned
        return found

    def oldest_pending(self, *, live: bool) -> int | None:
        """Since when the oldest suppression of the class is pending, in micros."""
        return self._unless_damaged(lambda: self._oldest(live, ("suppress",)), None)

    def delivered_until(self) -> int | None:
        """Micros: every live decision recorded until then is delivered. None: not known."""
        name, channel = self._name, self._destination.channel
        if self._reader.restoring or self._reader.scanner.is_scanning(name):
            return None
        if any(tables.unplanned(channel) for tables in self._reader.tables):
            return None  # One of them may hold a live withdrawal that was published again in bulk.
        as_of = [self._reader.freshness.as_of(tables.partition, channel) for tables in self._reader.tables]
        known = [each for each in as_of if each is not None]
        if len(known) < len(as_of):
            return None
        # Live rows of kind record are addresses that cannot be planned: one may hold a withdrawal.
        unknown: int | None = 0
        oldest = self._unless_damaged(lambda: self._oldest(True, ("suppress", "record")), unknown)
        return None if oldest == 0 else min(known) if oldest is None else min(oldest, *known)

    def _may_go(self, push: PendingPush) -> bool:
        undurable = self._session.overlay.rows(self._name, push.address_key) is not None
        return not undurable and not self._session.rests(self._name, push)

    def _hindrance(self, partition: int) -> str | None:
        if self._reader.restoring:
            return RESTORING
        return self._reader.freshness.hindrance(partition, self._destination.channel)

    def _delivered_now(self, address_key: str) -> Mapping[str, DeliveredTarget]:
        undurable = self._session.overlay.rows(self._name, address_key)
        return undurable if undurable is not None else self._delivered(address_key, self._get(address_key).delivered)

    def _get(self, address_key: str) -> StoredAddress:
        found = self._together.get(address_key)
        return self._read([address_key])[address_key] if found is None else found

    def _read(self, address_keys: Sequence[str]) -> dict[str, StoredAddress]:
        by_partition: dict[int, list[str]] = {}
        for address_key in address_keys:
            by_partition.setdefault(self._partition(address_key), []).append(address_key)
        found: dict[str, StoredAddress] = {}
        for partition, keys in by_partition.items():
            try:
                found.update(zip(keys, self._reader.tables[partition].get(self._destination, keys), strict=True))
            except StateStoreCorruptedError as error:
                self._reader.corrupted(partition, error)
                raise
        return found

    def _oldest(self, live: bool, kinds: Sequence[Kind]) -> int | None:
        found = [tables.oldest(self._name, live=live, kind=kind) for tables in self._reader.tables for kind in kinds]
        return min((each for each in found if each is not None), default=None)

    def _unless_damaged(self, read: Callable[[], T], otherwise: T) -> T:
        """Damaged tables are found and restored by the reader; until then there is nothing to send from them."""
        try:
            return read()
        except StateError as error:
            log.warning("local state cannot be read", extra={"error": str(error)})
            self._reader.suspect()
            return otherwise

    def _delivered(self, address_key: str, stored: bytes | None) -> Mapping[str, DeliveredTarget]:
        undurable = self._session.overlay.rows(self._name, address_key)
        return undurable if undurable is not None else self._decoder.delivered_or_unknown(stored)

    def _put(self, address_key: str, rows: Mapping[str, DeliveredTarget], receipts: Sequence[Receipt]) -> None:
        partition = self._partition(address_key)
        row = UndurableRow(destination=self._name, address_key=address_key, partition=partition, rows=rows)
        record = self._records.address(self._destination, address_key, rows, partition=partition, now=self._now())
        self._session.put(row, record, self._receipts(receipts))

    def _receipts(self, receipts: Sequence[Receipt]) -> list[OutgoingRecord]:
        return [self._records.receipt(part) for each in receipts for part in each.parts()]

    def _tables(self, address_key: str) -> PartitionTables:
        return self._reader.tables[self._partition(address_key)]

    def _partition(self, address_key: str) -> int:
        return _partition_of(address_key, len(self._reader.tables))


@lru_cache(maxsize=8_192)
def _partition_of(address_key: str, partitions: int) -> int:
    """Asked several times for each push, and not cheap in plain Python."""
    return partition_of(address_key.encode(), partitions)


def _not_before(push: PendingPush) -> int:
    return push.not_before
