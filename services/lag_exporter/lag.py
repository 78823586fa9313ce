"""How far consumer groups are behind, from what the broker knows of them.

Offsets alone lie: a partition may end in transaction markers or compacted holes, so a group can stand below the end
with nothing left to read. Hence each position below the end is looked at for a record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

MAX_GROUPS = 200
"""More than that are not groups of ours, and each would cost a time series per partition."""


class Place(NamedTuple):
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
    """The first offset of a partition and the end of what is committed to it."""

    low: int
    end: int


class Broker(Protocol):
    """What is asked of Kafka. Every method raises BrokerAway when there is no answer."""

    def groups(self, prefix: str) -> list[str]: ...

    def places(self, topics: Collection[str]) -> list[Place]:
        """The partitions of those of `topics` that exist."""

    def committed(self, group: str, places: Collection[Place]) -> Mapping[Place, int]:
        """Committed offsets at `places`, and -1 where the group has a member but has committed nothing."""

    def forget(self, groups: Collection[str]) -> None:
        """Nobody asks for any but `groups` now: let go of what is kept for others."""

    def bounds(self, places: Iterable[Place]) -> Mapping[Place, Bounds]: ...

    def oldest(self, positions: Mapping[Place, int]) -> Mapping[Place, int | None]:
        """Milliseconds since the epoch of the first record at or after each offset; None: there is none."""


class BrokerAway(Exception):
    """Kafka did not answer in time."""


@dataclass(kw_only=True, slots=True)
class Lags:
    """Looks at the broker; remembers the age of records that are still the oldest from look to look."""

    broker: Broker
    prefix: str
    topics: frozenset[str]
    _ages: dict[tuple[Place, int], int] = field(default_factory=dict)

    def look(self, now: float) -> list[Lag]:
        """The lag of every group whose name begins with the prefix, on our topics. `now`: seconds."""
        groups = self.broker.groups(self.prefix)[:MAX_GROUPS]
        self.broker.forget(groups)
        places = self.broker.places(self.topics) if groups else []
        committed = {group: self.broker.committed(group, places) for group in groups}
        bounds = self.broker.bounds({place for positions in committed.values() for place in positions})
        lags, ages = [], {}
        for group, positions in committed.items():
            at = {
                place: bounds[place].low if offset < bounds[place].low else offset
                for place, offset in positions.items()
                if place in bounds
            }
            oldest = self._oldest({place: offset for place, offset in at.items() if offset < bounds[place].end})
            for place, offset in at.items():
                timestamp = oldest.get(place)
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
        return lags

    def _oldest(self, positions: Mapping[Place, int]) -> Mapping[Place, int | None]:
        known = {place: self._ages[at] for place, offset in positions.items() if (at := (place, offset)) in self._ages}
        unknown = {place: offset for place, offset in positions.items() if place not in known}
        return {**known, **(self.broker.oldest(unknown) if unknown else {})}
