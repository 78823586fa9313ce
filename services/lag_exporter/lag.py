"""How far consumer groups lag, from what the broker knows of them.

Offsets alone lie: a partition may end in transaction markers or compacted holes, so a group can be below the end
with nothing left to read. Hence each position below the end is looked at for a record. And a transaction that is left
open hides all that follows from read_committed readers: the end is the high watermark, not the last stable
offset, beyond which any record counts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from consent_kafka.stall_detector import StallDetector

_OURS = re.compile(r"suppression|consent-api-[a-z-]+|propagator\.[a-z0-9-]+(\.tables)?")
"""The groups of our processes, after the prefix. Tools that read the lists have groups of their own, whose lag is
theirs to watch: each group costs a time series a partition."""

MAX_GROUPS = 200
"""More groups than this are not looked at, whatever their names."""

OPEN_TRANSACTION_SECONDS = 60.0
"""A last stable offset that has not advanced for longer is held by an open transaction of another client: ours end
within 10 s."""


class Partition(NamedTuple):
    topic: str
    partition: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lag:
    """One group's lag on one partition; `seconds` is the age of the oldest record it has not committed."""

    group: str
    topic: str
    partition: int
    records: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Of a partition: its first offset, its last stable offset (up to which committed records can be read), and its
    high watermark, the end of what is in it. `end` is never the younger one of the two."""

    low: int
    stable: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenTransaction:
    """What lies from `offset` on is hidden from readers of committed records, and has been for `seconds` of our
    looking."""

    topic: str
    partition: int
    offset: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LagSnapshot:
    """`stable_seconds`: for how long the last stable offset of each partition has not advanced below the end."""

    ends: Mapping[Partition, int]
    lags: Sequence[Lag]
    stable_seconds: Mapping[Partition, float]
    open_transactions: Sequence[OpenTransaction]
    """Those that hold a last stable offset for longer than any transaction of ours lasts."""


class Broker(Protocol):
    """What is asked of Kafka. Every method raises BrokerUnavailableError when there is no answer."""

    def groups(self, prefix: str) -> list[str]: ...

    def partitions(self, topics: Collection[str]) -> list[Partition]:
        """The partitions of those of `topics` that exist."""

    def committed(self, group: str, places: Collection[Partition]) -> Mapping[Partition, int]:
        """Committed offsets at `places`, and -1 where the group has a member but has committed nothing."""

    def forget(self, groups: Collection[str]) -> None:
        """Drop what is kept for groups other than `groups`."""

    def bounds(self, places: Iterable[Partition]) -> Mapping[Partition, Bounds]: ...

    def oldest_timestamps(
        self, positions: Mapping[Partition, int], *, committed: bool
    ) -> Mapping[Partition, int | None]:
        """Milliseconds since the epoch of the first record at or after each offset; None: there is none; absent: that
        cannot be found out. `committed`: records of open and aborted transactions do not count."""


@dataclass(kw_only=True, slots=True)
class LagReader:
    """Reads the broker; remembers from read to read the age of records that are still the oldest, and since when
    last stable offsets have not advanced."""

    broker: Broker
    prefix: str
    topics: frozenset[str]
    clock: Callable[[], float] = time.monotonic
    _ages: dict[tuple[Partition, int], int] = field(default_factory=dict)
    _stalls: dict[Partition, StallDetector] = field(default_factory=dict)
    _read_at: float = 0.0

    def read(self, now: float) -> LagSnapshot:
        """The lag of each of our groups on our topics, and open transactions on these. `now`: seconds since 1970."""
        found = self.broker.groups(self.prefix)
        groups = [each for each in found if _OURS.fullmatch(each.removeprefix(self.prefix))][:MAX_GROUPS]
        self.broker.forget(groups)
        places = self.broker.partitions(self.topics)
        committed = {group: self.broker.committed(group, places) for group in groups}
        bounds = self.broker.bounds(places)
        stable_seconds = self._stable_seconds(bounds)
        lags, ages = [], {}
        for group, positions in committed.items():
            at = {
                place: bounds[place].low if offset < bounds[place].low else offset
                for place, offset in positions.items()
                if place in bounds
            }
            oldest = self._oldest(at, bounds)
            for place, offset in at.items():
                if place not in oldest:
                    continue  # Not known, which is not 0.
                timestamp = oldest[place]
                if timestamp is not None:
                    ages[(place, offset)] = timestamp
                lags.append(
                    Lag(
                        group=group,
                        topic=place.topic,
                        partition=place.partition,
                        records=0 if timestamp is None else bounds[place].end - offset,
                        seconds=0.0 if timestamp is None else max(0.0, now - timestamp / 1000),
                    )
                )
        self._ages = ages
        return LagSnapshot(
            ends={place: each.end for place, each in bounds.items()},
            lags=lags,
            stable_seconds=stable_seconds,
            open_transactions=[
                OpenTransaction(
                    topic=place.topic, partition=place.partition, offset=bounds[place].stable, seconds=seconds
                )
                for place, seconds in stable_seconds.items()
                if seconds > OPEN_TRANSACTION_SECONDS
            ],
        )

    def _stable_seconds(self, bounds: Mapping[Partition, Bounds]) -> dict[Partition, float]:
        """For how many seconds each last stable offset has been where it is; 0 where it is the end."""
        self._read_at = self.clock()
        before = self._stalls
        self._stalls = {
            place: before.get(place) or StallDetector(*place, bound=0.0, clock=lambda: self._read_at)
            for place in bounds
        }
        for place, each in bounds.items():
            self._stalls[place].last_stable(each.stable, end=each.end)
        return {place: each.stalled_for() or 0.0 for place, each in self._stalls.items()}

    def _oldest(
        self, positions: Mapping[Partition, int], bounds: Mapping[Partition, Bounds]
    ) -> dict[Partition, int | None]:
        """When the first record that is left to read was appended; None where nothing is left, absent where that is not
        known."""
        below = {place: offset for place, offset in positions.items() if offset < bounds[place].end}
        known = {place: self._ages[at] for place, offset in below.items() if (at := (place, offset)) in self._ages}
        found: dict[Partition, int | None] = {place: None for place in positions if place not in below} | known
        readable = {p: offset for p, offset in below.items() if p not in known and offset < bounds[p].stable}
        if readable:
            found |= self.broker.oldest_timestamps(readable, committed=True)
        unknown = readable.keys() - found.keys()
        hidden = {
            place: max(offset, bounds[place].stable)
            for place, offset in below.items()
            if place not in unknown and found.get(place) is None and bounds[place].stable < bounds[place].end
        }
        if not hidden:
            return found
        known_now = {place: at for place, at in found.items() if place not in hidden}
        return {**known_now, **self.broker.oldest_timestamps(hidden, committed=False)}
