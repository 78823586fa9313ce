"""What a service gives the transport, and what it gets from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Record(Protocol):
    """One record as it came from the broker; nothing has been decoded."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch, set by the producer or the broker."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class Chunk:
    """The records fetched from one partition at one time, in order. Their offsets may have holes.

    The handler calls `acknowledge` once all effects of all its records are acknowledged (a record
    that cannot be read: once its dead letter is). Nothing else ever acknowledges it. Several chunks of a
    partition may be outstanding and may be acknowledged in any order, always from the loop's own thread.

    When the oldest of a partition is neither acknowledged nor beats for a minute, the process is not ready.
    """

    __slots__ = ("_acknowledge", "_beat", "partition", "records", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        records: Sequence[Record],
        acknowledge: Callable[[Chunk], None],
        beat: Callable[[Chunk], None] = lambda _chunk: None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.records = records
        self._acknowledge = acknowledge
        self._beat = beat

    def acknowledge(self) -> None:
        """The whole range is done and may be committed. Doing it twice, or after `close`, changes nothing."""
        self._acknowledge(self)

    def beat(self) -> None:
        """Some of it has come on, or waits on purpose: for a destination that is down, or takes only so many."""
        self._beat(self)

    def __repr__(self) -> str:
        first, last = self.records[0].offset, self.records[-1].offset
        return f"<Chunk {self.topic}:{self.partition} {first}..{last}>"


class PartitionHandler(Protocol):
    """What a service does with one partition, from its assignment to its loss."""

    async def process(self, chunk: Chunk) -> None:
        """Called in order, one at a time. May return before the effects are done and acknowledge later.

        Raising is a bug: the process crashes, and the chunk is delivered again. Cancelled when the partition
        is revoked and it has not returned in time: the chunk is then abandoned.
        """

    async def close(self) -> None:
        """The partition is lost, or the process stops: finish or abandon what is under way, and release it.

        Never called while `process` runs. What is unacknowledged when it returns goes to the next owner."""


class Ownership(Protocol):
    """Whether this process may still act as the partition's owner."""

    def is_confirmed(self) -> bool:
        """The partition is ours, and the broker confirmed it less than a session timeout ago.

        No other process can own it then, whatever happened to this one since (frozen and resumed, cut off)."""

    def read_from(self, offset: int) -> None:
        """Begin at `offset`, whatever the group has committed: for a service that keeps its own positions.

        Called during `open`. After a rebalance that leaves the partition here, reading goes on after the last range
        that was acknowledged, for the same reason.
        """

    def reopen(self) -> None:
        """Close this partition and open it again, as if it had just been assigned. Only after `read_from`.

        Nothing happens while the group rebalances: the caller asks again if its reason persists.
        """


@dataclass(frozen=True, kw_only=True)
class StreamSpec:
    """One consumer group over some topics, which have the same number of partitions. A partition number is one unit:
    it is opened when the partition of every topic is assigned (`open` is then called for each, concurrently), and
    closed with the first that is lost. A member that is assigned only some of them opens none and is not ready.

    `open` makes a partition ready (recovery) before its first chunk and may take its time, as long as it lets
    the loop run. Cancelled when the partition is lost meanwhile: it then leaves nothing running behind it.
    """

    name: str
    group: str
    topics: tuple[str, ...]
    open: Callable[[str, int, Ownership], Awaitable[PartitionHandler]]
