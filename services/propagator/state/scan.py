"""Makes the pending index of a destination complete again: one pass over a partition, in slices.

A scan is due when the stored fingerprint is not that of what the plans depend on now: a new destination, a changed
mapping, a retired key, a fill, a restored disk. The fingerprint is stored at the end of the pass, so that one broken
off begins again. Live changes are applied between two slices.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from propagator.state import layout
from propagator.state.planning import PlannedDestination
from propagator.state.tables import Offers, PartitionTables

log = logging.getLogger(__name__)

SLICE_ADDRESSES = 200
"""Planned between two looks at what has arrived: about 20 ms for one destination."""


class Scanner:
    """All scans of a process. Used by the reader thread; `is_scanning` from any."""

    def __init__(self, tables: Sequence[PartitionTables]) -> None:
        self._tables = tables
        self._scans: dict[tuple[int, str], _Scan] = {}

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._scans)

    def is_scanning(self, destination: str) -> bool:
        """Whether the pending index of this destination may be incomplete."""
        return any(destination in scan.fingerprints for scan in list(self._scans.values()))

    def check(self) -> None:
        """Begin the scans that are due; to be called when tables were loaded and when a destination's fill began."""
        for tables in self._tables:
            due: dict[str, dict[str, bytes]] = {}
            for name, destination in tables.destinations.items():
                if not tables.is_planned(destination):
                    due.setdefault(destination.channel, {})[name] = tables.fingerprint(destination)
            for channel in {each.channel for each in tables.destinations.values()}:
                at = (tables.partition, channel)
                running = self._scans.get(at)
                if channel not in due:
                    self._scans.pop(at, None)
                elif running is None or running.fingerprints != due[channel]:
                    log.info(
                        "partition planned",
                        extra={"partition": tables.partition, "destinations": sorted(due[channel])},
                    )
                    self._scans[at] = _Scan(tables, channel, due[channel])

    def step(self) -> Offers:
        """Plan one slice of the scan whose turn it is."""
        if not self._scans:
            return {}
        at, scan = next(iter(self._scans.items()))
        del self._scans[at]
        offers = scan.step()
        if offers is None:
            return {}
        self._scans[at] = scan  # At the end: the next slice is another partition's.
        return offers

    def stop(self) -> None:
        """Break off all scans; `check` begins them again."""
        self._scans.clear()


class _Scan:
    """One pass over one channel's addresses in one partition, for the destinations that need it."""

    def __init__(self, tables: PartitionTables, channel: str, fingerprints: dict[str, bytes]) -> None:
        self.fingerprints = fingerprints
        self._tables = tables
        self._channel = channel
        self._destinations = [tables.destinations[name] for name in fingerprints]
        self._slices = self._pass()

    def step(self) -> Offers | None:
        """None: the pass has ended and its fingerprints are stored."""
        offers = next(self._slices, None)
        if offers is None:
            for destination in self._destinations:
                self._tables.mark_planned(destination, self.fingerprints[destination.name])
        return offers

    def _pass(self) -> Iterator[Offers]:
        tables, destinations = self._tables, self._destinations
        prefix = layout.entry_prefix(self._channel)
        for rows in self._pages(prefix):
            known: dict[bytes, bytes | None] = dict(rows)
            keys = [key[len(prefix) :].decode() for key, _ in rows]
            yield tables.replan(((each, key) for key in keys for each in destinations), known)
        # Rows without an entry: of erased addresses. What is pending and has neither is removed.
        for destination in destinations:
            for prefix in (layout.delivered_prefix(destination.name), layout.pending_keys_prefix(destination.name)):
                for rows in self._pages(prefix):
                    yield self._without_entry(destination, [key[len(prefix) :].decode() for key, _ in rows])

    def _without_entry(self, destination: PlannedDestination, keys: list[str]) -> Offers:
        entry_keys = {key: layout.entry_key(self._channel, key) for key in keys if key}
        entries = dict(zip(entry_keys, self._tables.store.get(list(entry_keys.values())), strict=True))
        missing = [key for key, entry in entries.items() if entry is None]
        known: dict[bytes, bytes | None] = {entry_keys[key]: None for key in missing}
        return self._tables.replan([(destination, key) for key in missing], known)

    def _pages(self, prefix: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        start, stop = prefix, layout.after(prefix)
        while rows := list(self._tables.store.scan(start, stop, SLICE_ADDRESSES)):
            start = rows[-1][0] + b"\0"
            yield rows
