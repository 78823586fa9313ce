"""How old the list is in each partition, and therefore whether a permission may be sent (design decision 6)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from consent_contracts.checks import decode_resolved
from consent_contracts.codec import Codec
from consent_contracts.errors import ContractError
from consent_kafka.position import Position
from consent_kafka.resolved import ListResolved, ResolvedPartition, StalenessLimits
from consent_service.clock import elapsed_micros, now_micros

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshnessLimits:
    """Beyond these ages no permission is sent. Microseconds."""

    staleness: StalenessLimits = field(default_factory=StalenessLimits)
    permission_age: int = 5_000_000
    """Of `resolved_at` itself, stricter than what a reader of the list may go by."""


class Freshness:
    """Written by the reader thread; may be asked from any thread, as each value is replaced as a whole."""

    def __init__(
        self,
        codec: Codec,
        topic: str,
        partitions: int,
        limits: FreshnessLimits,
        *,
        clock: Callable[[], int] = now_micros,
        elapsed: Callable[[], int] = elapsed_micros,
    ) -> None:
        self._codec = codec
        self._topic = topic
        self._limits = limits
        self._clock = clock
        self._elapsed = elapsed
        self._partitions = [ResolvedPartition() for _ in range(partitions)]

    def forget(self, partition: int) -> None:
        """The partition is restored: what was adopted no longer describes the tables."""
        self._partitions[partition] = ResolvedPartition()

    def receive(self, partition: int, append_time: int, value: bytes, *, read_at: float | None = None) -> None:
        """A ListResolved record was read; `read_at` as for `Codec.decode`. One that cannot be read leaves the partition
        as old as it is."""
        try:
            datum = decode_resolved(self._codec, self._topic, value, partition=partition, read_at=read_at)
        except ContractError as error:
            log.warning("a ListResolved record cannot be read", extra={"partition": partition, "error": str(error)})
            return
        record = ListResolved.of(datum, append_time=append_time)
        self._partitions[partition].receive(record, elapsed=self._elapsed())

    def advance(self, partition: int, positions: Mapping[str, Position]) -> None:
        """The tables hold the list topics up to these positions, by topic."""
        self._partitions[partition].advance(positions, clock=self._clock(), elapsed=self._elapsed())

    def hindrance(self, partition: int, channel: str) -> str | None:
        """Why no permission may be sent for an address of this partition; None: it may."""
        resolved, elapsed = self._partitions[partition], self._elapsed()
        if (hindrance := resolved.hindrance(channel, self._limits.staleness, elapsed=elapsed)) is not None:
            return hindrance
        age = resolved.age(elapsed)
        return "too_old_for_permissions" if age is None or age > self._limits.permission_age else None

    def as_of(self, partition: int, channel: str) -> int | None:
        """Every live decision acknowledged before this moment is in the tables. None: unknown."""
        return self._partitions[partition].as_of(channel)

    def loss(self, partition: int) -> int:
        """The partition's loss number."""
        return self._partitions[partition].loss
