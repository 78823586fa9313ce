"""Reading the ledger: the state at a moment, why an address is (not) contactable, and which receipts there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Row, text

from consent_api.domain import effects
from consent_api.domain.addresses import Named
from consent_api.domain.effects import Outcome
from consent_api.ledger import addresses, database, subjects
from consent_api.ledger.addresses import live_key_ids
from consent_api.ledger.current import NEWEST_FIRST, CurrentDecisions
from consent_api.ledger.lanes import MARK
from consent_api.ledger.rows import decision_of
from consent_contracts.decisions import DELIVERY, Decision
from consent_contracts.join import precedence
from consent_contracts.verdict import Verdict, effective_verdict, verdicts
from consent_privacy.keyring import Keyring

T = TypeVar("T")

PAGE = 100
"""Decisions, or receipts, of one answer: an address may be shared by thousands of subjects."""
MOST_REPLACED = 100
"""Of the decisions that newer ones have replaced, those that were recorded last are looked at."""
_END_OF_TIME = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerDecision:
    """A decision in the ledger, with its stated time, its evidence and the addresses it had reached."""

    decision: Decision
    channel: str
    occurred_at: int | None
    source_system: str | None
    evidence: Mapping[str, str] = field(repr=False)
    address_keys: tuple[str, ...]
    traceparent: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressState:
    """An address of the subject and what could be done with it, by purpose; ``*``: purposes not named."""

    channel: str
    address_key: str
    linked_at: int
    verdicts: Mapping[str, Verdict]


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectState:
    """A subject at the moment ``at``: a page of its current decisions, by id, and its addresses. ``more_after``: the id
    after which the next page begins."""

    at: int
    entries: tuple[LedgerDecision, ...]
    more_after: str | None
    addresses: tuple[AddressState, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """One stage that a push reached at one destination."""

    receipt_id: str
    destination: str
    channel: str
    address_key: str
    target: str | None
    action: str
    stage: str
    version: int
    recorded_at: int
    queued_at: int
    reached_at: int
    attempts: int
    provider_reference: str | None
    detail: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionReceipts:
    """A page of the receipts of one decision, its mark and its effect now."""

    bulk: bool
    outcome: Outcome
    receipts: tuple[Receipt, ...]
    more_after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The verdict on an address for a purpose at ``at``, the decision from which it follows, and the receipts of that.

    ``others``: of the other current decisions on the address, and those replaced ones that wanted something else than
    what holds now, a page, by id, each with its effect there. The newest receipts are there, a page of them.
    """

    at: int
    address_key: str
    verdict: Verdict
    deciding: LedgerDecision | None
    others: tuple[tuple[LedgerDecision, Outcome], ...] = ()
    more_after: str | None = None
    receipts: tuple[Receipt, ...] = ()


_LINKED_AT = text("""
SELECT l.address_id, l.linked_at, k.channel, k.address_key
FROM subject_addresses l JOIN address_keys k USING (address_id)
WHERE l.subject_id = :subject_id AND l.linked_at <= :at AND (l.unlinked_at IS NULL OR l.unlinked_at > :at)
ORDER BY l.linked_at, l.address_id
""")
_DECISION = f"""
d.decision_id::text AS decision_id, s.subject_ref, d.purpose, d.status, d.effective_at, d.recorded_at, d.expires_at,
{MARK}
"""
_COLUMNS = f"{_DECISION}, d.channel, d.occurred_at, d.spreads, d.source_system, d.evidence, d.traceparent"
_OF_SUBJECT = text(f"""
SELECT {_DECISION}, d.channel, d.spreads,
       ARRAY(SELECT r.address_id FROM decision_addresses r
             WHERE r.decision_id = d.decision_id AND r.reached_at <= :at) AS reached
FROM decisions d JOIN subjects s USING (subject_id)
WHERE d.subject_id = :subject_id AND d.recorded_at <= :at
ORDER BY d.recorded_at, d.decision_id
""")  # noqa: S608 - constants
_ON_ADDRESSES = """
FROM decision_addresses r JOIN decisions d USING (decision_id) LEFT JOIN subjects s USING (subject_id)
WHERE r.address_id = ANY(CAST(:address_ids AS bigint[])) AND r.reached_at <= :at AND d.recorded_at <= :at
"""
_CURRENT_ON_ADDRESSES = text(f"""
SELECT DISTINCT ON (r.address_id, d.subject_id, d.purpose) r.address_id, {_DECISION} {_ON_ADDRESSES}
ORDER BY r.address_id, d.subject_id, d.purpose, {NEWEST_FIRST}
""")
_REPLACED_ON_ADDRESS = text(f"""
SELECT {_DECISION} {_ON_ADDRESSES} AND NOT d.decision_id = ANY(CAST(:current AS uuid[]))
ORDER BY d.recorded_at DESC, d.decision_id DESC LIMIT :most
""")
_WHOLE = text(f"""
SELECT {_COLUMNS} FROM decisions d LEFT JOIN subjects s USING (subject_id)
WHERE d.decision_id = ANY(CAST(:ids AS uuid[]))
""")  # noqa: S608 - constants
_KEYS = text("""
SELECT address_id, channel, address_key FROM address_keys WHERE address_id = ANY(CAST(:address_ids AS bigint[]))
""")
_BY_ID = text(f"""
SELECT {_COLUMNS}, d.subject_id,
       ARRAY(SELECT r.address_id FROM decision_addresses r WHERE r.decision_id = d.decision_id) AS reached
FROM decisions d LEFT JOIN subjects s USING (subject_id)
WHERE d.decision_id = :decision_id AND d.tenant = :tenant
""")  # noqa: S608 - constants
_BY_EVENT = text(f"""
SELECT {_DECISION}, d.event_source, d.subject_id,
       ARRAY(SELECT r.address_id FROM decision_addresses r WHERE r.decision_id = d.decision_id) AS reached
FROM decisions d LEFT JOIN subjects s USING (subject_id)
WHERE d.tenant = :tenant AND d.event_id = :event_id ORDER BY d.event_source LIMIT :most
""")  # noqa: S608 - constants
_HISTORY = text(f"""
SELECT {_COLUMNS}, d.subject_id,
       ARRAY(SELECT r.address_id FROM decision_addresses r WHERE r.decision_id = d.decision_id) AS reached
FROM decisions d JOIN subjects s USING (subject_id)
WHERE d.subject_id = :subject_id
  AND (CAST(:after AS uuid) IS NULL OR (d.recorded_at, d.decision_id) >
       (SELECT a.recorded_at, a.decision_id FROM decisions a
        WHERE a.decision_id = CAST(:after AS uuid) AND a.subject_id = :subject_id))
ORDER BY d.recorded_at, d.decision_id LIMIT :most
""")  # noqa: S608 - constants
_NEWEST_OF_SUBJECT = text(f"""
SELECT {_COLUMNS}, d.subject_id,
       ARRAY(SELECT r.address_id FROM decision_addresses r WHERE r.decision_id = d.decision_id) AS reached
FROM decisions d JOIN subjects s USING (subject_id)
WHERE d.subject_id = :subject_id ORDER BY d.recorded_at DESC, d.decision_id DESC LIMIT :most
""")  # noqa: S608 - constants
_RECEIPTS_OF = """
SELECT r.receipt_id, r.destination, r.channel, r.address_key, r.target, r.action, r.stage, r.version, r.recorded_at,
       r.queued_at, r.reached_at, r.attempts, r.provider_reference, r.detail
FROM receipt_decisions d JOIN receipts r USING (receipt_id)
WHERE d.decision_id = :decision_id AND r.tenant = :tenant
"""
_RECEIPTS = text(f"""
{_RECEIPTS_OF}
  AND (CAST(:after AS text) IS NULL OR (r.reached_at, r.receipt_id) >
       (SELECT a.reached_at, a.receipt_id FROM receipts a WHERE a.receipt_id = :after AND a.tenant = :tenant))
ORDER BY r.reached_at, r.receipt_id LIMIT :most
""")  # noqa: S608 - constants
_NEWEST_RECEIPTS = text(f"""
{_RECEIPTS_OF} AND r.address_key = ANY(CAST(:address_keys AS text[]))
ORDER BY r.reached_at DESC, r.receipt_id DESC LIMIT :most
""")


def state(
    connection: Connection, keyring: Keyring, *, tenant: str, subject_ref: str, at: int, after: str | None = None
) -> SubjectState | None:
    """The subject as the ledger knew it at ``at`` (microseconds), with the evidence. None: no such subject. R8.

    ``after``: the id of a decision; the page that begins after it.
    """
    subject_id = subjects.find(connection, tenant, subject_ref)
    if subject_id is None:
        return None
    own = connection.execute(_OF_SUBJECT, {"subject_id": subject_id, "at": at}).all()
    linked = _preferred(connection.execute(_LINKED_AT, {"subject_id": subject_id, "at": at}), keyring, tenant)
    on_address: dict[int, list[Decision]] = {address_id: [] for address_id in linked}
    for row in connection.execute(_CURRENT_ON_ADDRESSES, {"address_ids": list(linked), "at": at}):
        on_address[row.address_id].append(decision_of(row))
    shown, more_after = _page(_current(own), lambda row: str(row.decision_id), after)
    reached = {address_id for row in shown for address_id in row.reached}
    keys = _preferred(connection.execute(_KEYS, {"address_ids": list(reached)}), keyring, tenant)
    whole = _whole(connection, [row.decision_id for row in shown])
    return SubjectState(
        at=at,
        entries=tuple(
            _entry(whole[row.decision_id], [keys[address_id].address_key for address_id in row.reached])
            for row in shown
        ),
        more_after=more_after,
        addresses=tuple(
            AddressState(
                channel=row.channel,
                address_key=row.address_key,
                linked_at=row.linked_at,
                verdicts=_verdicts_at(on_address[address_id], at),
            )
            for address_id, row in linked.items()
        ),
    )


def explain(
    connection: Connection, keyring: Keyring, *, named: Named, purpose: str, after: str | None = None
) -> Explanation:
    """Why this address may, or may not, be contacted for this purpose now. R9. ``after``: as for `state`."""
    tenant, now = named[0], database.clock(connection)
    address = addresses.find(connection, keyring, named)
    address_key = keyring.address_key(*named)
    if address is None:
        return Explanation(at=now, address_key=address_key, verdict=effective_verdict({}, purpose, now), deciding=None)
    # Of all times, as the database's clock may have been set back: what is recorded decides.
    on_address = {"address_ids": [address.address_id], "at": _END_OF_TIME}
    current = {row.decision_id: row for row in connection.execute(_CURRENT_ON_ADDRESSES, on_address)}
    there = CurrentDecisions()
    for row in current.values():
        there.add(address.address_id, decision_of(row))
    verdict = effective_verdict(verdicts(map(decision_of, current.values())), purpose, now)
    replaced = connection.execute(
        _REPLACED_ON_ADDRESS, {**on_address, "current": list(map(UUID, current)), "most": MOST_REPLACED}
    )
    others: list[tuple[str, Outcome]] = []
    for row in (each for each in (*current.values(), *replaced) if each.purpose != DELIVERY):
        outcome = there.outcome(decision_of(row), [address.address_id], now=now)
        is_current = row.decision_id in current
        if row.decision_id != verdict.decision_id and (is_current or outcome.effect is effects.Effect.SUPERSEDED):
            others.append((row.decision_id, outcome))
    shown, more_after = _page(others, lambda each: each[0], after)
    whole = _whole(connection, [*(each for each, _ in shown), *filter(None, [verdict.decision_id])])
    receipts: list[Receipt] = []
    if verdict.decision_id is not None:
        newest = connection.execute(
            _NEWEST_RECEIPTS,
            {
                "decision_id": UUID(verdict.decision_id),
                "tenant": tenant,
                "address_keys": list(address.sealed),
                "most": PAGE,
            },
        )
        receipts = [Receipt(**row) for row in newest.mappings()]
    return Explanation(
        at=now,
        address_key=address_key,
        verdict=verdict,
        deciding=_entry(whole[verdict.decision_id], [address_key]) if verdict.decision_id is not None else None,
        others=tuple((_entry(whole[decision_id], [address_key]), outcome) for decision_id, outcome in shown),
        more_after=more_after,
        receipts=tuple(reversed(receipts)),
    )


def decision(
    connection: Connection, keyring: Keyring, *, tenant: str, decision_id: UUID
) -> tuple[LedgerDecision, Outcome] | None:
    """A decision with its evidence, and its effect now. None: no such decision."""
    row = connection.execute(_BY_ID, {"decision_id": decision_id, "tenant": tenant}).one_or_none()
    if row is None:
        return None
    (found,) = _evaluated(connection, keyring, tenant, [row])
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectHistory:
    """A page of all that a subject has ever decided, in the order in which it was recorded, each with its effect now.
    ``more_after``: the id after which the next page begins."""

    decisions: tuple[tuple[LedgerDecision, Outcome], ...]
    more_after: str | None


def history(
    connection: Connection, keyring: Keyring, *, tenant: str, subject_ref: str, after: UUID | None = None
) -> SubjectHistory | None:
    """None: no such subject. ``after``: the id of a decision; the page that begins after it."""
    subject_id = subjects.find(connection, tenant, subject_ref)
    if subject_id is None:
        return None
    rows = connection.execute(_HISTORY, {"subject_id": subject_id, "after": after, "most": PAGE + 1}).all()
    shown = rows[:PAGE]
    return SubjectHistory(
        decisions=tuple(_evaluated(connection, keyring, tenant, shown)),
        more_after=shown[-1].decision_id if len(rows) > PAGE else None,
    )


def newest(
    connection: Connection, keyring: Keyring, *, tenant: str, subject_ref: str, most: int
) -> list[tuple[LedgerDecision, Outcome]]:
    """What a subject has decided last, the newest first, each with its effect now. Nothing of an unknown subject."""
    subject_id = subjects.find(connection, tenant, subject_ref)
    rows = connection.execute(_NEWEST_OF_SUBJECT, {"subject_id": subject_id, "most": most}).all()
    return _evaluated(connection, keyring, tenant, rows)


def outcomes_of_events(
    connection: Connection, *, tenant: str, event_id: str, most: int
) -> list[tuple[Row[Any], Outcome]]:
    """The decisions that were recorded under an event id, by their sources, with their effects now."""
    rows = connection.execute(_BY_EVENT, {"tenant": tenant, "event_id": event_id, "most": most}).all()
    return list(zip(rows, _outcomes(connection, rows), strict=True))


def receipts(
    connection: Connection, *, tenant: str, decision_id: UUID, after: str | None = None
) -> DecisionReceipts | None:
    """Which destinations have received a decision, in the order of time. None: no such decision. R28.

    ``after``: the id of a receipt; the page that begins after it.
    """
    known = connection.execute(_BY_ID, {"decision_id": decision_id, "tenant": tenant}).one_or_none()
    if known is None:
        return None
    (outcome,) = _outcomes(connection, [known])
    rows = connection.execute(
        _RECEIPTS, {"decision_id": decision_id, "tenant": tenant, "after": after, "most": PAGE + 1}
    )
    found = [Receipt(**row) for row in rows.mappings()]
    return DecisionReceipts(
        bulk=known.bulk,
        outcome=outcome,
        receipts=tuple(found[:PAGE]),
        more_after=found[PAGE - 1].receipt_id if len(found) > PAGE else None,
    )


def _evaluated(
    connection: Connection, keyring: Keyring, tenant: str, rows: Sequence[Row[Any]]
) -> list[tuple[LedgerDecision, Outcome]]:
    """Whole decisions with the addresses that they reached, and with their effects now."""
    reached = {address_id for row in rows for address_id in row.reached}
    keys = _preferred(connection.execute(_KEYS, {"address_ids": list(reached)}), keyring, tenant)
    return [
        (_entry(row, [keys[address_id].address_key for address_id in row.reached]), outcome)
        for row, outcome in zip(rows, _outcomes(connection, rows), strict=True)
    ]


def _outcomes(connection: Connection, rows: Sequence[Row[Any]]) -> list[Outcome]:
    current = CurrentDecisions()
    for row in rows:
        current.need(row.status, row.effective_at, row.subject_id, row.reached)
    current.read(connection)
    now = database.clock(connection)
    return [current.outcome(decision_of(row), row.reached, now=now) for row in rows]


def _page(items: Iterable[T], id_of: Callable[[T], str], after: str | None) -> tuple[list[T], str | None]:
    """The first items, by id, after one of them, and the id of the last where there are more."""
    following = sorted((item for item in items if after is None or id_of(item) > after), key=id_of)
    shown = following[:PAGE]
    return shown, id_of(shown[-1]) if len(following) > PAGE else None


def _current(rows: Iterable[Row[Any]]) -> list[Row[Any]]:
    """Of one subject's decisions those that no newer one has replaced: on some address they reached, or, for a
    refusal that waits for addresses to come, on the channel as a whole."""
    newest: dict[tuple[object, ...], Row[Any]] = {}
    for row in rows:
        slots: list[tuple[object, ...]] = [(address_id, row.channel, row.purpose) for address_id in row.reached]
        if row.spreads or not slots:
            slots.append((None, row.channel, row.purpose))
        for slot in slots:
            _keep_newer(newest, slot, row)
    return _distinct(newest.values())


def _whole(connection: Connection, ids: Collection[str]) -> dict[str, Row[Any]]:
    """Decisions with their evidence, of one page: of a long history it is not even read."""
    return {row.decision_id: row for row in connection.execute(_WHOLE, {"ids": list(map(UUID, ids))})}


def _keep_newer(newest: dict[tuple[object, ...], Row[Any]], slot: tuple[object, ...], row: Row[Any]) -> None:
    current = newest.get(slot)
    if current is None or precedence(decision_of(current)) < precedence(decision_of(row)):
        newest[slot] = row


def _distinct(rows: Iterable[Row[Any]]) -> list[Row[Any]]:
    by_id = {row.decision_id: row for row in rows}
    return sorted(by_id.values(), key=lambda row: (row.recorded_at, row.decision_id))


def _verdicts_at(decisions: Collection[Decision], at: int) -> dict[str, Verdict]:
    known = verdicts(decisions)
    return {purpose: effective_verdict(known, purpose, at) for purpose in known}


def _preferred(rows: Iterable[Row[Any]], keyring: Keyring, tenant: str) -> dict[int, Row[Any]]:
    """One row an address: that of the primary hash key, or of the key that it has, if nothing has touched it since."""
    primary = live_key_ids(keyring, tenant)[0] + "."
    found: dict[int, Row[Any]] = {}
    for row in rows:
        if row.address_id not in found or row.address_key.startswith(primary):
            found[row.address_id] = row
    return found


def _entry(row: Row[Any], address_keys: Iterable[str]) -> LedgerDecision:
    return LedgerDecision(
        decision=decision_of(row),
        channel=row.channel,
        occurred_at=row.occurred_at,
        source_system=row.source_system,
        evidence=row.evidence,
        address_keys=tuple(sorted(address_keys)),
        traceparent=row.traceparent,
    )
