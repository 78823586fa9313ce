"""Erasures: what one would do, begun, and looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from consent_api.errors import ErasureHeldError, PersonUnknownError
from consent_api.ledger import addresses, database
from consent_api.ledger.recording import LedgerContext
from consent_api.rights import audit, requests
from consent_api.rights.audit import Act
from consent_api.rights.erasure import holds, model, retention, scope
from consent_api.rights.erasure.model import Certificate, Counts, Delivery, Progress, State
from consent_api.rights.erasure.scope import Scope
from consent_api.rights.person_ref import PersonRef
from consent_privacy.keyring import Keyring

DAY_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """Times in micros. ``certificate``: once all is erased."""

    erasure_id: str
    tenant: str
    state: State
    requested_at: int
    notify_until: int
    erased_at: int | None
    ended_at: int | None
    certificate: Certificate | None = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewErasure:
    """``request_id``: a request that it carries out, beside the person's own for their erasure. ``notify_seconds``: how
    long the tools have at most."""

    person: PersonRef
    by: str
    request_id: UUID | None = None
    notify_seconds: int = DAY_SECONDS


_INSERT = text("""
INSERT INTO erasures (erasure_id, tenant, requested_by, requested_at, notify_until, subject_id, next_turn_at)
VALUES (CAST(:erasure_id AS uuid), :tenant, :by, :now, :notify_until, :subject_id, 0)
""")
ADD_ADDRESSES = text("""
INSERT INTO erasure_addresses (erasure_id, address_id, forget)
SELECT CAST(:erasure_id AS uuid), address_id, forget
FROM unnest(CAST(:ids AS bigint[]), CAST(:forget AS boolean[])) AS new (address_id, forget)
ON CONFLICT DO NOTHING
""")
# A person who was erased before, by another erasure, is erased by this one from now on.
ADD_PERSONS = text("""
INSERT INTO erased_persons (tenant, person_key, erasure_id)
SELECT :tenant, person_key, CAST(:erasure_id AS uuid) FROM unnest(CAST(:keys AS text[])) AS new (person_key)
ON CONFLICT (tenant, person_key) DO UPDATE SET erasure_id = excluded.erasure_id, erased_at = NULL
""")
_PERSON_KEYS = text("SELECT person_key FROM erased_persons WHERE erasure_id = :erasure_id")
_BY_KEYS = text("""
SELECT DISTINCT p.erasure_id FROM erased_persons p
WHERE p.tenant = :tenant AND p.person_key = ANY(CAST(:keys AS text[]))
""")
COLUMNS = """
e.erasure_id, e.tenant, e.requested_by, e.requested_at, e.notify_until, e.subject_id, e.erased_at, e.ended_at,
e.certificate
"""
_ONE = text(f"SELECT {COLUMNS} FROM erasures e WHERE e.tenant = :tenant AND e.erasure_id = :erasure_id")  # noqa: S608
_WORK = text("""
SELECT count(*) FILTER (WHERE forget AND objection IS NULL AND erased_at IS NULL) AS without_objection,
       count(*) FILTER (WHERE erased_at IS NULL) AS to_erase
FROM erasure_addresses WHERE erasure_id = :erasure_id
""")
# At each address, each tool that has ever reported about it: whether it has the objection.
_TOOLS = text("""
SELECT e.address_id, r.destination,
       bool_or(rd.decision_id = e.objection AND r.stage IN ('accepted', 'effective')) AS delivered,
       bool_or(rd.decision_id = e.objection AND r.stage = 'impossible') AS impossible
FROM erasure_addresses e
JOIN decision_addresses a ON a.address_id = e.address_id
JOIN receipt_decisions rd ON rd.decision_id = a.decision_id
JOIN receipts r ON r.receipt_id = rd.receipt_id
JOIN address_keys k ON k.address_id = e.address_id AND k.address_key = r.address_key
WHERE e.erasure_id = :erasure_id AND e.forget AND e.erased_at IS NULL
  AND e.address_id = coalesce(CAST(:address_id AS bigint), e.address_id)
GROUP BY e.address_id, r.destination
""")


def preview(connection: Connection, keyring: Keyring, person: PersonRef, *, now: int) -> Certificate:
    """What an erasure would do. Whatever this writes is undone. PersonUnknownError, ErasureHeldError."""
    undone = connection.begin_nested()
    try:
        return _preview(connection, keyring, person, now=now)
    finally:
        undone.rollback()


def _preview(connection: Connection, keyring: Keyring, person: PersonRef, *, now: int) -> Certificate:
    found = _scope(connection, keyring, person, now=now)
    periods = retention.load()
    known = addresses.load(connection, keyring, found.forget | found.keep, now=now)
    counts = [
        scope.counts(
            connection, keyring, periods, each, subject_id=found.subject_id, forget=each.address_id in found.forget
        )
        for each in known.values()
    ]
    return model.certificate(
        forgotten=len(found.forget),
        kept=len(found.keep),
        counts=sum(counts, Counts()),
        subject=found.subject_id is not None,
        retention=periods,
        at=now,
    )


def begin(connection: Connection, context: LedgerContext, new: NewErasure, *, now: int) -> Erasure:
    """Begin to erase a person: from now on no permission of theirs is recorded. The same again finds the first.

    The person's open requests for it are resolved when it ends, with its certificate. PersonUnknownError,
    ErasureHeldError; RequestUnknownError for a request that is not of this tenant, SubmissionInvalidError for one that
    asks for something else, or was refused.
    """
    person, keyring = new.person, context.keyring
    holds.one_at_a_time(connection, tenant=person.tenant)
    if new.request_id is not None:
        requests.to_carry_out(
            connection, keyring, tenant=person.tenant, request_id=new.request_id, kind=requests.Kind.ERASURE
        )
    earlier = _earlier(connection, keyring, person)
    try:
        found = _scope(connection, keyring, person, now=now)
    except PersonUnknownError:
        if earlier is not None:
            return _again(connection, keyring, new, earlier, now=now)
        raise
    if earlier is not None and _is_same(connection, keyring, person, earlier, found):
        return _again(connection, keyring, new, earlier, now=now)
    erasure_id = str(context.ids.next(now))
    connection.execute(
        _INSERT,
        {
            "erasure_id": erasure_id,
            "tenant": person.tenant,
            "by": new.by,
            "now": now,
            "notify_until": now + new.notify_seconds * 1_000_000,
            "subject_id": found.subject_id,
        },
    )
    add_scope(connection, erasure_id, found)
    requests.erased_by(
        connection,
        keyring,
        tenant=person.tenant,
        erasure_id=UUID(erasure_id),
        keys=found.person_keys,
        request_id=new.request_id,
    )
    audit.add(connection, tenant=person.tenant, who=new.by, act=Act.ERASURE_BEGUN, object_id=erasure_id, at=now)
    return find(connection, tenant=person.tenant, erasure_id=UUID(erasure_id))


def _again(connection: Connection, keyring: Keyring, new: NewErasure, earlier: Erasure, *, now: int) -> Erasure:
    """The earlier one carries the request out too: at its end, or now if it has ended."""
    tenant, erasure_id = earlier.tenant, UUID(earlier.erasure_id)
    requests.erased_by(
        connection,
        keyring,
        tenant=tenant,
        erasure_id=erasure_id,
        keys=person_keys(connection, erasure_id),
        request_id=new.request_id,
    )
    if earlier.ended_at is not None and earlier.certificate is not None:
        requests.resolve_erased(
            connection,
            keyring,
            tenant=tenant,
            erasure_id=erasure_id,
            by=new.by,
            now=now,
            certificate=model.as_json(earlier.certificate),
        )
    return earlier


def add_scope(connection: Connection, erasure_id: str, found: Scope) -> None:
    """What is to be erased, and who is refused from now on."""
    ids = [*sorted(found.forget), *sorted(found.keep)]
    forget = [each in found.forget for each in ids]
    connection.execute(ADD_ADDRESSES, {"erasure_id": erasure_id, "ids": ids, "forget": forget})
    keys = list(found.person_keys)
    connection.execute(ADD_PERSONS, {"tenant": found.tenant, "erasure_id": erasure_id, "keys": keys})


def person_keys(connection: Connection, erasure_id: UUID) -> Sequence[str]:
    """The keyed hashes of whom an erasure erases, or has erased."""
    return connection.execute(_PERSON_KEYS, {"erasure_id": erasure_id}).scalars().all()


def find(connection: Connection, *, tenant: str, erasure_id: UUID, settle: int = model.SETTLE_MICROS) -> Erasure:
    """PersonUnknownError: there is none with this id."""
    row = connection.execute(_ONE, {"tenant": tenant, "erasure_id": erasure_id}).one_or_none()
    if row is None:
        raise PersonUnknownError
    now = database.clock(connection)
    return Erasure(
        erasure_id=str(row.erasure_id),
        tenant=row.tenant,
        state=model.next_state(progress(connection, row, now=now), now=now, settle=settle),
        requested_at=row.requested_at,
        notify_until=row.notify_until,
        erased_at=row.erased_at,
        ended_at=row.ended_at,
        certificate=model.from_json(row.certificate) if row.certificate is not None else None,
    )


def progress(connection: Connection, row: Row[Any], *, now: int) -> Progress:
    """Of an erasure, by its row."""
    work = connection.execute(_WORK, {"erasure_id": row.erasure_id}).one()
    waiting = row.erased_at is None and now < row.notify_until
    at_each = tools(connection, row.erasure_id).values() if waiting else ()
    return Progress(
        ended=row.ended_at is not None,
        erased=row.erased_at is not None,
        without_objection=work.without_objection,
        to_erase=work.to_erase,
        notify_until=row.notify_until,
        requested_at=row.requested_at,
        tools=model.by_destination(at_each),
    )


def tools(
    connection: Connection, erasure_id: UUID, *, address_id: int | None = None
) -> dict[int, Mapping[str, Delivery]]:
    """By address to be forgotten, what became of the objection at each tool that has ever reported about it."""
    found: dict[int, dict[str, Delivery]] = {}
    for row in connection.execute(_TOOLS, {"erasure_id": erasure_id, "address_id": address_id}):
        delivered = (
            Delivery.DELIVERED if row.delivered else Delivery.IMPOSSIBLE if row.impossible else Delivery.UNDELIVERED
        )
        found.setdefault(row.address_id, {})[row.destination] = delivered
    return dict(found)


def _scope(connection: Connection, keyring: Keyring, person: PersonRef, *, now: int) -> Scope:
    found = scope.find(connection, keyring, person, now=now)
    if found is None:
        raise PersonUnknownError
    hold = holds.of(
        connection,
        tenant=person.tenant,
        person_keys={*scope.holders(connection, keyring, found), *person.keys(keyring)},
        now=now,
    )
    if hold is not None:
        raise ErasureHeldError(reason=hold.reason, until=hold.until)
    return found


def _earlier(connection: Connection, keyring: Keyring, person: PersonRef) -> Erasure | None:
    """The last erasure of this person, or one that is in progress."""
    rows = connection.execute(_BY_KEYS, {"tenant": person.tenant, "keys": person.keys(keyring)}).scalars().all()
    found = [find(connection, tenant=person.tenant, erasure_id=each) for each in rows]
    return max(found, key=lambda each: (each.ended_at is None, each.requested_at), default=None)


def _is_same(connection: Connection, keyring: Keyring, person: PersonRef, earlier: Erasure, found: Scope) -> bool:
    """Whether an earlier erasure is, or was, all that is asked for. One of the address alone is not that of the person
    who is named with it."""
    if earlier.ended_at is not None:
        return not _came_back(connection, keyring, found)
    return person.is_within(keyring, person_keys(connection, UUID(earlier.erasure_id)))


def _came_back(connection: Connection, keyring: Keyring, found: Scope) -> bool:
    """Whether there is anything to erase again."""
    if found.subject_id is not None:
        return True
    known = addresses.load(connection, keyring, found.forget, now=0)
    return any(not each.is_erased for each in known.values())
