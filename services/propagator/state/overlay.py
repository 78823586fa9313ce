"""Rows between the destination's answer and the moment at which they are read back from the state topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from propagator.desired.model import DeliveredTarget


@dataclass(slots=True, eq=False)
class UndurableRow:
    """The rows of one address at one destination, by target; they replace those of the tables."""

    destination: str
    address_key: str
    partition: int
    rows: Mapping[str, DeliveredTarget]
    offset: int | None = None
    """Where it was committed; None: not yet."""


@dataclass(slots=True)
class Overlay:
    """Written on the event loop; `rows` may be called from any thread."""

    _rows: dict[tuple[str, str], UndurableRow] = field(default_factory=dict)
    _committed: dict[int, deque[UndurableRow]] = field(default_factory=dict)
    _read_to: dict[int, int] = field(default_factory=dict)

    def rows(self, destination: str, address_key: str) -> Mapping[str, DeliveredTarget] | None:
        """None: the tables hold what is known."""
        found = self._rows.get((destination, address_key))
        return None if found is None else found.rows

    def put(self, row: UndurableRow) -> None:
        """The newest rows of an address; earlier ones are replaced."""
        self._rows[row.destination, row.address_key] = row

    def committed(self, row: UndurableRow, offset: int) -> None:
        """The row is in the state topic at `offset`."""
        row.offset = offset
        if offset < self._read_to.get(row.partition, 0):
            self.remove(row)
        else:
            self._committed.setdefault(row.partition, deque()).append(row)

    def read_to(self, partition: int, offset: int) -> None:
        """The tables hold everything below `offset` of the state topic."""
        self._read_to[partition] = offset
        waiting = self._committed.get(partition)
        while waiting and waiting[0].offset is not None and waiting[0].offset < offset:
            self.remove(waiting.popleft())

    def remove(self, row: UndurableRow) -> None:
        """The tables hold what is known of the address; a newer row of it stays."""
        if self._rows.get((row.destination, row.address_key)) is row:
            del self._rows[row.destination, row.address_key]

    def clear(self) -> list[tuple[str, str]]:
        """Drop everything; returns the destinations and addresses concerned."""
        dropped = list(self._rows)
        self._rows.clear()
        self._committed.clear()
        self._read_to.clear()
        return dropped

    def __len__(self) -> int:
        return len(self._rows)
