"""One pass over a slice of a list: compare everything, then look again at what seems to differ.

The topic is read first and the ledger second, so what the ledger lacks is no decision on its way. What the list lacks
may be one: a difference counts only if it is still there in the list as it is once the resolved timestamps of both
lanes have passed the moment at which the ledger was read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, Engine

from consent_api.ledger import database
from consent_api.ledger.database import transact
from consent_api.operations.verify import ledger_entries
from consent_api.operations.verify.compare import (
    MAX_ENTRY_BYTES,
    DifferenceKind,
    EntryDifference,
    EntryLocation,
    Found,
    ListEntry,
    compare,
    current_entry,
)
from consent_api.operations.verify.fingerprint import expected_fingerprint
from consent_api.operations.verify.ledger_entries import ComparedKeys, Cursor, LedgerAddress, Slice
from consent_api.operations.verify.list_reader import Fingerprints, ListReader, confluent_header, key_hash
from consent_api.operations.verify.reached import ReachedReader
from consent_contracts.codec import Codec
from consent_contracts.partitioner import partition_of
from consent_contracts.records import entry_to_avro
from consent_contracts.topics import Topics

T = TypeVar("T")

_CONFIRMED_AT_ONCE = 20_000
"""Addresses that are read again together: their entries are in memory."""
_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """An address with differences, and what is there to repair it with. `ledger` None: the ledger does not know it."""

    location: EntryLocation
    differences: tuple[EntryDifference, ...]
    found: Found
    ledger: LedgerAddress | None


@dataclass(kw_only=True, slots=True)
class Summary:
    """Of a pass: keys compared, on the list or in the ledger; looked at twice; and `undecided`, whose partition did not
    get as far as the ledger in the time given."""

    compared: int = 0
    confirmed: int = 0
    undecided: int = 0
    differences: dict[DifferenceKind, int] = field(default_factory=dict)

    def count(self, checked: Checked) -> None:
        for each in checked.differences:
            self.differences[each.kind] = self.differences.get(each.kind, 0) + 1

    @property
    def defects(self) -> int:
        return sum(count for kind, count in self.differences.items() if kind.is_defect)


class Verification:
    """Compares slices of the lists with the ledger. Used by one thread."""

    def __init__(
        self,
        *,
        engine: Engine,
        codec: Codec,
        topics: Topics,
        partitions: int,
        lists: ListReader,
        reached: ReachedReader,
        keys: ComparedKeys,
        page_size: int,
        wait_seconds: float,
        pause: Callable[[float], None] = time.sleep,
        pace: Callable[[], None] = lambda: None,
    ) -> None:
        """`wait_seconds`: how long to wait for the list to get as far as the ledger. `pause` sleeps for so many seconds
        while waiting; `pace` is called after each page. Either may raise to stop."""
        self._engine = engine
        self._codec = codec
        self._topics = topics
        self._partitions = partitions
        self._lists = lists
        self._reached = reached
        self._keys = keys
        self._key_ids = frozenset(key_id.encode() for ids in keys.live.values() for key_id in ids)
        self._page_size = page_size
        self._wait_seconds = wait_seconds
        self._pause = pause
        self._pace = pace

    def check(
        self,
        part: Slice,
        summary: Summary,
        *,
        tenant: str | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Iterator[Checked]:
        """The addresses of a slice that differ, of one tenant or of all; `summary` counts meanwhile. `progress` takes
        the share of the slice that was compared.

        Raises ListUnreadableError and LedgerUnavailableError.
        """
        topic = self._topics.suppression(part.channel)
        prints = self._lists.fingerprints(
            topic, partial(self._holds, part), tenant=tenant, progress=lambda share: progress(share / 4)
        )
        expected_count = max(len(prints), 1)
        suspects: list[tuple[str, str]] = []
        for addresses in self._pages(part, tenant):
            suspects += self._suspects(topic, part.channel, addresses, prints)
            summary.compared += len(addresses)
            progress(min(1.0, 0.25 + 0.75 * (1 - len(prints) / expected_count)))
            self._pace()
        unrecorded = prints.rest()
        summary.compared += len(unrecorded)
        while suspects or unrecorded:
            now, suspects = suspects[:_CONFIRMED_AT_ONCE], suspects[_CONFIRMED_AT_ONCE:]
            hashes, unrecorded = unrecorded[:_CONFIRMED_AT_ONCE], unrecorded[_CONFIRMED_AT_ONCE:]
            for checked in self._confirm(part.channel, now, hashes, summary):
                summary.count(checked)
                yield checked

    def _holds(self, part: Slice, key: bytes) -> bool:
        """Whether a record's key belongs to the slice and is one that readers ask for."""
        return key[: key.find(b".")] in self._key_ids and part.holds(key)

    def _suspects(
        self, topic: str, channel: str, addresses: Sequence[LedgerAddress], prints: Fingerprints
    ) -> Iterator[tuple[str, str]]:
        header = confluent_header(self._codec, topic)
        for address in addresses:
            print_ = prints.take(address.address_key.encode())
            if not self._keys.is_live(address.tenant, address.address_key):
                continue  # No reader asks for it any more.
            if not address.rows:
                if print_ is not None:
                    yield address.tenant, address.address_key
                continue
            entry = current_entry(
                address.tenant, channel, address.address_key, address.decisions, erased_at=address.erased_at
            )
            if print_ != expected_fingerprint(header, entry):
                yield address.tenant, address.address_key

    def _pages(self, part: Slice, tenant: str | None) -> Iterator[list[LedgerAddress]]:
        """The ledger's addresses. The next page is read while one is compared."""

        def read(after: Cursor) -> tuple[list[LedgerAddress], Cursor] | None:
            return self._transact(
                lambda connection: ledger_entries.page(connection, part, after, tenant=tenant, size=self._page_size)
            )

        with ThreadPoolExecutor(1, thread_name_prefix="verify-ledger") as ahead:
            coming: Future[tuple[list[LedgerAddress], Cursor] | None] = ahead.submit(read, Cursor())
            while (found := coming.result()) is not None:
                addresses, cursor = found
                coming = ahead.submit(read, cursor)
                yield addresses

    def _confirm(
        self, channel: str, suspects: Collection[tuple[str, str]], unrecorded: Collection[int], summary: Summary
    ) -> Iterator[Checked]:
        """Read both again. `suspects`: (tenant, address key) of the ledger; `unrecorded`: hashes of other keys."""
        first = self._of_keys(channel, suspects)
        moment = self._transact(database.clock)
        topic = self._topics.suppression(channel)
        ends = self._wait_until_reached(topic, channel, moment)
        wanted = {key_hash(key.encode()) for _, key in suspects} | set(unrecorded)
        found = self._lists.entries(topic, wanted, ends)
        owners: dict[bytes, str | None] = {key.encode(): tenant for tenant, key in suspects}
        for key, each in found.items():
            if key not in owners:
                owners[key] = each.entry.tenant if isinstance(each, ListEntry) else None
        again = {(tenant, _text(key)) for key, tenant in owners.items() if tenant is not None}
        last = self._of_keys(channel, again)
        for key, tenant in owners.items():
            location = EntryLocation(
                tenant=tenant, channel=channel, address_key=_text(key), partition=partition_of(key, self._partitions)
            )
            if location.partition not in ends:
                summary.undecided += 1
                continue
            summary.confirmed += 1
            named = (tenant or "", location.address_key)
            checked = self._checked(location, found.get(key), first.get(named), last.get(named))
            if checked.differences:
                yield checked

    def _checked(
        self, location: EntryLocation, found: Found, first: LedgerAddress | None, last: LedgerAddress | None
    ) -> Checked:
        expected = None
        large = False
        if first is not None and first.rows:
            expected = current_entry(
                first.tenant, location.channel, first.address_key, first.decisions, erased_at=first.erased_at
            )
            datum = entry_to_avro(expected, 0)
            large = len(self._codec.encode(self._topics.suppression(location.channel), datum)) > MAX_ENTRY_BYTES // 2
        if first is not None and self._keys.is_incomplete(first.tenant, first.address_key):
            expected = None  # What was recorded before this hash key is not under it before a republish.
        recorded = last.decisions if last is not None else ()
        differences = compare(location, found, expected=expected, recorded=recorded, large=large)
        return Checked(location=location, differences=tuple(differences), found=found, ledger=last)

    def _wait_until_reached(self, topic: str, channel: str, moment: int) -> dict[int, int]:
        """By partition whose list holds all that was recorded before `moment`, the offset after that."""
        deadline = time.monotonic() + self._wait_seconds
        while True:
            found = self._reached.read(topic, channel)
            ends = {partition: each.end for partition, each in found.items() if each.until >= moment}
            if len(ends) == self._partitions or time.monotonic() >= deadline:
                return ends
            self._pause(_POLL_SECONDS)

    def _of_keys(self, channel: str, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], LedgerAddress]:
        found: dict[tuple[str, str], LedgerAddress] = {}
        remaining = list(keys)
        for start in range(0, len(remaining), self._page_size):
            part = remaining[start : start + self._page_size]
            found |= self._transact(partial(ledger_entries.of_keys, channel=channel, keys=part))
            self._pace()
        return found

    def _transact(self, work: Callable[[Connection], T]) -> T:
        return transact(self._engine, work)


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")
