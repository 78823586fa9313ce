"""What the ledger has decided on addresses: of each subject and purpose the decision that no newer one has replaced."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from sqlalchemy import Connection, text

from consent_contracts.decisions import GIVEN, Decision
from consent_contracts.join import SKEW_MICROS, order

from .lanes import MARK
from .rows import decision_of

EVERYTHING = 0
"""As a moment: since ever."""

# A permission's id begins with the time at which it was recorded, which is never before the choice: so an address that
# has been decided a hundred thousand times costs nothing when only what is newer than a moment can matter.
_CURRENT = text(f"""
SELECT DISTINCT ON (r.address_id, d.subject_id, d.purpose)
       r.address_id, d.decision_id::text AS decision_id, s.subject_ref, d.purpose, d.status, d.effective_at,
       d.recorded_at, d.expires_at, {MARK}
FROM unnest(CAST(:address_ids AS bigint[]), CAST(:since AS uuid[])) AS wanted (address_id, since)
JOIN decision_addresses r ON r.address_id = wanted.address_id AND r.decision_id >= wanted.since
JOIN decisions d USING (decision_id) LEFT JOIN subjects s USING (subject_id)
ORDER BY r.address_id, d.subject_id, d.purpose,
         d.effective_at - CASE WHEN d.status = 'given' THEN {SKEW_MICROS} ELSE 0 END DESC,
         d.status <> 'given' DESC, d.decision_id DESC
""")  # noqa: S608 - constants

_Slot = tuple[str | None, str]


class CurrentDecisions:
    """By address: what the ledger holds of those that were read, and what is added since."""

    def __init__(self) -> None:
        self._by_address: dict[int, dict[_Slot, Decision]] = {}
        self._read: set[int] = set()
        self._stored: set[str] = set()

    def read(self, connection: Connection, since: Iterable[tuple[int, int]]) -> None:
        """Read (address_id, micros) in one statement, in none if all are known: of each address at least the
        permissions that were recorded since the earliest of its moments. An address is read once."""
        wanted: dict[int, int] = {}
        for address_id, moment in since:
            if address_id not in self._read:
                wanted[address_id] = min(moment, wanted.get(address_id, moment))
        if not wanted:
            return
        self._read.update(wanted)
        rows = connection.execute(
            _CURRENT, {"address_ids": list(wanted), "since": [_first_id(moment) for moment in wanted.values()]}
        )
        for row in rows:
            self._stored.add(row.decision_id)
            self.add(row.address_id, decision_of(row))

    def created(self, address_id: int) -> None:
        """The address is new: there is nothing to read."""
        self._read.add(address_id)

    def add(self, address_id: int, decision: Decision) -> None:
        """A decision reaches the address."""
        slots = self._by_address.setdefault(address_id, {})
        slot = (decision.subject_ref, decision.purpose)
        current = slots.get(slot)
        if current is None or order(current) < order(decision):
            slots[slot] = decision

    def was_stored(self, decision_id: str) -> bool:
        """Whether the decision was in the ledger already, and was read."""
        return decision_id in self._stored

    def of(self, address_id: int) -> Collection[Decision]:
        """The current decisions on the address."""
        return self._by_address.get(address_id, {}).values()


def needed_since(status: str, effective_at: int) -> int:
    """From which moment on an address's decisions can change what comes of this one. A permission may meet any refusal;
    a refusal is lifted by newer permissions alone."""
    return EVERYTHING if status == GIVEN else effective_at


def _first_id(moment: int) -> UUID:
    """No permission that was recorded at or after the moment has a lower id."""
    return UUID(int=(max(moment, 0) // 1000) << 80)
