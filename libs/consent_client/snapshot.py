"""A list at one moment, with what is known of its age. Pure."""

from collections.abc import Mapping
from functools import cached_property

from consent_kafka.resolved import Recency


class ListSnapshot:
    """The packed entries by address key, and how recent each partition is. For any thread.

    The entries go on changing, towards newer ones only; what is known of their age stays what it was. So an answer is
    at least as recent as it claims.
    """

    def __init__(self, entries: Mapping[bytes, bytes], partitions: tuple[Recency, ...]) -> None:
        self.entries = entries
        self.partitions = partitions

    @cached_property
    def usable_until(self) -> int:
        """Until when every partition is recent enough, on the elapsed clock."""
        return min(each.usable_until for each in self.partitions)

    @cached_property
    def as_of(self) -> int | None:
        """The lowest of all partitions, None where one is not known."""
        known = [each.as_of for each in self.partitions if each.as_of is not None]
        return min(known) if len(known) == len(self.partitions) else None

    @cached_property
    def clock_at_zero(self) -> int | None:
        """See `Recency`; the latest of all partitions."""
        return max((each.clock_at_zero for each in self.partitions if each.clock_at_zero is not None), default=None)

    def hindrances(self, elapsed: int) -> dict[str, list[int]]:
        """Why partitions may not be answered from, with their numbers."""
        found: dict[str, list[int]] = {}
        for number, each in enumerate(self.partitions):
            if (hindrance := each.hindrance(elapsed)) is not None:
                found.setdefault(hindrance, []).append(number)
        return found
