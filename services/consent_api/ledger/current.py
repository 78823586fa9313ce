"""What the ledger has decided on addresses: of each subject and purpose the decision that no newer one has replaced."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from sqlalchemy import Connection, text

from consent_api.domain import effects
from consent_api.domain.effects import Outcome
from consent_api.ledger.lanes import MARK
from consent_api.ledger.rows import decision_of
from consent_contracts.decisions import DELIVERY, GIVEN, Decision, permits
from consent_contracts.join import SKEW_MICROS, precedence
from consent_contracts.verdict import Verdict, verdict

_EVERYTHING = 0

NEWEST_FIRST = f"""
d.effective_at - CASE WHEN d.status = 'given' THEN {SKEW_MICROS} ELSE 0 END DESC, d.status <> 'given' DESC,
d.decision_id DESC
"""
"""The order of decisions (`join.precedence`, reversed), for a SELECT whose ``d`` is ``decisions``."""

# Only what can change an outcome is read, so that neither an address that thousands of people share nor one with a long
# history slows a refusal down. A permission's id begins with the time at which it was recorded, which is never before
# the choice.
_CURRENT = text(f"""
SELECT DISTINCT ON (r.address_id, d.subject_id, d.purpose)
       r.address_id, d.decision_id::text AS decision_id, s.subject_ref, d.purpose, d.status, d.effective_at,
       d.recorded_at, d.expires_at, {MARK}
FROM (
    SELECT a.address_id, a.decision_id
    FROM unnest(CAST(:address_ids AS bigint[]), CAST(:addresses_since AS uuid[])) AS wanted (address_id, since)
    JOIN decision_addresses a ON a.address_id = wanted.address_id AND a.decision_id >= wanted.since
    UNION ALL
    SELECT a.address_id, a.decision_id
    FROM unnest(CAST(:subject_ids AS bigint[]), CAST(:subjects_since AS bigint[])) AS wanted (subject_id, since)
    JOIN decisions o ON o.subject_id = wanted.subject_id AND o.recorded_at >= wanted.since
    JOIN decision_addresses a USING (decision_id)
) AS r JOIN decisions d USING (decision_id) LEFT JOIN subjects s USING (subject_id)
ORDER BY r.address_id, d.subject_id, d.purpose, {NEWEST_FIRST}
""")  # noqa: S608 - constants


class CurrentDecisions:
    """By address: what the ledger holds of those that were read, and what is added since. Choices alone: whether an
    address takes messages ends none of them."""

    def __init__(self) -> None:
        self._by_address: dict[int, dict[str | None, dict[str, Decision]]] = {}
        self._verdicts: dict[int, dict[str, Verdict]] = {}
        self._stored: set[str] = set()
        self._added: set[str] = set()
        self._known_addresses: dict[int, int] = {}
        self._known_subjects: dict[int, int] = {}
        self._needed_addresses: dict[int, int] = {}
        self._needed_subjects: dict[int, int] = {}

    def created(self, *, addresses: Iterable[int], subjects: Iterable[int]) -> None:
        """Nothing has been decided there, or by them."""
        self._known_addresses |= dict.fromkeys(addresses, _EVERYTHING)
        self._known_subjects |= dict.fromkeys(subjects, _EVERYTHING)

    def need(self, status: str, effective_at: int, subject_id: int | None, address_ids: Iterable[int]) -> None:
        """`read` is to read what can change the outcome of a decision that reaches these addresses. A permission may
        meet any refusal there; a refusal is lifted by newer permissions alone, a subject's by the subject's own."""
        if status != GIVEN and subject_id is not None:
            _earliest(self._needed_subjects, self._known_subjects, [subject_id], effective_at)
        else:
            moment = _EVERYTHING if status == GIVEN else effective_at
            _earliest(self._needed_addresses, self._known_addresses, address_ids, moment)

    def read(self, connection: Connection) -> None:
        """In one statement, in none if all is known."""
        if not (self._needed_addresses or self._needed_subjects):
            return
        rows = connection.execute(
            _CURRENT,
            {
                "address_ids": list(self._needed_addresses),
                "addresses_since": [_first_id(moment) for moment in self._needed_addresses.values()],
                "subject_ids": list(self._needed_subjects),
                "subjects_since": list(self._needed_subjects.values()),
            },
        )
        for row in rows:
            if row.decision_id not in self._added:
                self._stored.add(row.decision_id)
            self._put(row.address_id, decision_of(row))
        self._known_addresses |= self._needed_addresses
        self._known_subjects |= self._needed_subjects
        self._needed_addresses, self._needed_subjects = {}, {}

    def add(self, address_id: int, decision: Decision) -> None:
        """A decision reaches the address, in this transaction."""
        self._added.add(decision.decision_id)
        self._put(address_id, decision)

    def _put(self, address_id: int, decision: Decision) -> None:
        if decision.purpose == DELIVERY:
            return
        register = self._by_address.setdefault(address_id, {}).setdefault(decision.subject_ref, {})
        current = register.get(decision.purpose)
        if current is None or precedence(current) < precedence(decision):
            register[decision.purpose] = decision
            self._verdicts.pop(address_id, None)

    def was_stored(self, decision_id: str) -> bool:
        """Whether the decision was in the ledger before this transaction, and was read."""
        return decision_id in self._stored

    def at(self, address_id: int) -> list[Decision]:
        """The current decisions on the address."""
        return [each for register in self._by_address.get(address_id, {}).values() for each in register.values()]

    def beside(self, decision: Decision, address_id: int) -> Collection[Decision]:
        """Those of the current decisions on the address that can decide in this one's place."""
        if permits(decision) or decision.subject_ref is None:
            return self.at(address_id)
        return self._by_address.get(address_id, {}).get(decision.subject_ref, {}).values()

    def verdict(self, address_id: int, purpose: str) -> Verdict:
        """Of all decisions on the address, whatever has ended."""
        known = self._verdicts.setdefault(address_id, {})
        if purpose not in known:
            known[purpose] = verdict(self.at(address_id), purpose)
        return known[purpose]

    def outcome(self, decision: Decision, address_ids: Collection[int], *, now: int) -> Outcome:
        """What comes of a decision that has reached these addresses."""
        if permits(decision):
            return effects.of_permission([self.verdict(each, decision.purpose) for each in address_ids], now=now)
        return effects.of_refusal(decision, [self.beside(decision, each) for each in address_ids], now=now)


def _earliest(needed: dict[int, int], known: Mapping[int, int], ids: Iterable[int], moment: int) -> None:
    """`known`: since when everything is."""
    for each in ids:
        if each not in known or moment < known[each]:
            needed[each] = min(moment, needed.get(each, moment))


def _first_id(moment: int) -> UUID:
    """No permission that was recorded at or after the moment has a lower id."""
    return UUID(int=(max(moment, 0) // 1000) << 80)
