"""Which relay compares the lists with the ledger, and how far it has come, in the ledger. Raises DBAPIError."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, text

from consent_api.ledger.database import CLOCK_MICROS as _NOW
from consent_api.operations.verify.ledger_entries import Slice

LEASE_SECONDS = 60.0
"""Another relay takes over from one that has given no sign of life for this long."""

_COLUMNS = f"started_at, slices, done, completed_at, {_NOW} AS now"
_READ = text(f"SELECT {_COLUMNS} FROM list_scrub")  # noqa: S608 - constants
_CLAIM = text(
    f"INSERT INTO list_scrub AS s (scrub_id, taken_by, taken_at) VALUES (1, :relay, {_NOW})"  # noqa: S608 - constants
    f" ON CONFLICT (scrub_id) DO UPDATE SET taken_by = :relay, taken_at = {_NOW}"
    f" WHERE s.taken_by = :relay OR s.taken_at < {_NOW} - :lease RETURNING {_COLUMNS}"
)
_BEGIN = text(
    f"UPDATE list_scrub SET started_at = {_NOW}, slices = CAST(:slices AS jsonb), done = 0, taken_at = {_NOW}"  # noqa: S608 - constants
    f" WHERE taken_by = :relay RETURNING {_COLUMNS}"
)
_ADVANCE = text(
    f"UPDATE list_scrub SET done = done + 1, taken_at = {_NOW},"  # noqa: S608 - constants
    f" completed_at = CASE WHEN done + 1 >= jsonb_array_length(slices) THEN {_NOW} ELSE completed_at END"
    f" WHERE taken_by = :relay RETURNING {_COLUMNS}"
)
_DEFER = text(
    "UPDATE list_scrub SET slices = (slices - done) || jsonb_build_array(slices -> done)"  # noqa: S608 - constants
    f" WHERE taken_by = :relay AND done < jsonb_array_length(slices) RETURNING {_COLUMNS}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScrubState:
    """Times in micros, by the database's clock: when the pass began, when one went through everything, and now."""

    started_at: int | None
    slices: tuple[Slice, ...]
    done: int
    completed_at: int | None
    now: int

    @property
    def next(self) -> Slice | None:
        """What is compared next in this pass; None at its end."""
        return self.slices[self.done] if self.done < len(self.slices) else None

    @property
    def coverage(self) -> float:
        return self.done / len(self.slices) if self.slices else 0.0

    @property
    def age_seconds(self) -> float:
        """Since everything was compared; NaN before the first time."""
        return float("nan") if self.completed_at is None else (self.now - self.completed_at) / 1e6

    def is_due(self, period_seconds: float, *, failed: Collection[Slice] = ()) -> bool:
        """Whether the next pass begins now: a period after the last one began, unless that still has parts to compare
        that have not `failed`."""
        return (self.next is None or self.next in failed) and (
            self.started_at is None or self.now - self.started_at >= period_seconds * 1_000_000
        )


class ScrubTable:
    def __init__(self, engine: Engine, *, relay: str) -> None:
        """`relay`: an id of this process that no other process has had."""
        self._engine = engine
        self._relay = relay

    def read(self) -> ScrubState | None:
        """None before the first relay has begun."""
        with self._engine.connect() as connection:
            return _state(connection.execute(_READ).first())

    def claim(self) -> ScrubState | None:
        """The state, and a sign of life; None while another relay compares."""
        return self._write(_CLAIM, lease=int(LEASE_SECONDS * 1_000_000))

    def begin(self, slices: Sequence[Slice]) -> ScrubState | None:
        """A new pass. None when another relay has taken over meanwhile."""
        return self._write(_BEGIN, slices=json.dumps([[each.channel, each.number, each.of] for each in slices]))

    def advance(self) -> ScrubState | None:
        """The next part was compared. None when another relay has taken over meanwhile."""
        return self._write(_ADVANCE)

    def defer(self) -> ScrubState | None:
        """The next part could not be compared: the others of the pass come first. None as for `advance`."""
        return self._write(_DEFER)

    def _write(self, statement: Any, **values: Any) -> ScrubState | None:
        with self._engine.begin() as connection:
            return _state(connection.execute(statement, {"relay": self._relay, **values}).first())


def _state(row: Any) -> ScrubState | None:
    if row is None:
        return None
    return ScrubState(
        started_at=row.started_at,
        slices=tuple(Slice(channel=channel, number=number, of=of) for channel, number, of in row.slices),
        done=row.done,
        completed_at=row.completed_at,
        now=row.now,
    )
