"""Requests by which persons exercise their rights: opened, extended once, resolved, each by its due date.

A request does not carry a right out: the call that does resolves it, in the same transaction where that is possible.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from consent_api.errors import (
    FieldViolation,
    RequestExtensionError,
    RequestResolvedError,
    RequestUnknownError,
    SubmissionInvalidError,
)
from consent_api.ledger.ids import DecisionIds
from consent_api.rights import audit, due_dates, person_ref
from consent_api.rights.audit import Act
from consent_api.rights.person_ref import PersonRef
from consent_privacy.keyring import Keyring

PAGE = 100


class Kind(StrEnum):
    ACCESS = "access"
    PORTABILITY = "portability"
    RECTIFICATION = "rectification"
    ERASURE = "erasure"
    OBJECTION = "objection"


class Identity(StrEnum):
    """By what the person's identity is proven."""

    LINK = "link"
    CODE = "code"
    OPERATOR = "operator"
    """Someone's word; the request's note names the means."""


class State(StrEnum):
    OPEN = "open"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRequest:
    """``identity_note`` holds no address: `texts.plain` has seen it."""

    person: PersonRef
    kind: Kind
    identity: Identity
    identity_note: str | None
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RightsRequest:
    """Times in micros. ``person`` is None once the person is erased. ``certificate`` holds no personal data.
    ``erasure_id``: of the erasure that carries it out."""

    request_id: str
    tenant: str
    kind: Kind
    person: PersonRef | None
    identity: Identity
    identity_note: str | None
    opened_at: int
    opened_by: str
    due_at: int
    extended_at: int | None
    extension_reason: str | None
    state: State
    resolved_at: int | None
    resolved_by: str | None
    reason: str | None
    certificate: Mapping[str, Any] | None = field(repr=False)
    erasure_id: str | None

    @property
    def id(self) -> UUID:
        return UUID(self.request_id)

    def is_overdue(self, now: int) -> bool:
        return self.state is State.OPEN and self.due_at < now

    @property
    def is_erasing(self) -> bool:
        """Whether its erasure is in progress: that resolves it."""
        return self.state is State.OPEN and self.erasure_id is not None

    @property
    def position(self) -> str:
        """In the list, to go on behind it even after the request itself has moved."""
        return f"{int(self.state is not State.OPEN)}.{self.due_at}.{self.request_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRequests:
    """Of one kind, of all tenants: how many are open and overdue, and the age of the oldest in micros."""

    open: int
    overdue: int
    oldest: int


_COLUMNS = """
request_id::text AS request_id, tenant, kind, sealed_person, identity, identity_note, opened_at, opened_by, due_at,
extended_at, extension_reason, state, resolved_at, resolved_by, reason, certificate, erasure_id::text AS erasure_id
"""
_INSERT = text(f"""
INSERT INTO rights_requests (request_id, tenant, kind, person_keys, sealed_person, identity, identity_note, opened_at,
                             opened_by, due_at, state)
VALUES (CAST(:request_id AS uuid), :tenant, :kind, CAST(:person_keys AS text[]), :sealed_person, :identity,
        :identity_note, :opened_at, :opened_by, :due_at, 'open')
RETURNING {_COLUMNS}
""")  # noqa: S608 - constants
_ONE = text(f"SELECT {_COLUMNS} FROM rights_requests WHERE tenant = :tenant AND request_id = :request_id")  # noqa: S608
_LOCKED = text(f"{_ONE.text} FOR UPDATE")
_LIST = text(f"""
SELECT {_COLUMNS} FROM rights_requests
WHERE tenant = :tenant AND (CAST(:state AS text) IS NULL OR state = :state)
  AND (CAST(:rank AS integer) IS NULL
       OR ((state <> 'open')::integer, due_at, request_id) > (CAST(:rank AS integer), :due_at, CAST(:id AS uuid)))
ORDER BY (state <> 'open')::integer, due_at, request_id LIMIT :most
""")  # noqa: S608 - constants
# Of too many, which one person can make by objecting again and again, those that wait for an answer are there.
_OF_PERSON = text(f"""
SELECT * FROM (
    SELECT {_COLUMNS} FROM rights_requests
    WHERE tenant = :tenant AND person_keys && CAST(:keys AS text[])
    ORDER BY state <> 'open', opened_at DESC, request_id DESC LIMIT :most
) AS newest ORDER BY opened_at, request_id
""")  # noqa: S608 - constants
_EXTEND = text(f"""
UPDATE rights_requests SET due_at = :due_at, extended_at = :now, extension_reason = :reason
WHERE request_id = :request_id RETURNING {_COLUMNS}
""")  # noqa: S608 - constants
_RESOLVE = text(f"""
UPDATE rights_requests SET state = :state, resolved_at = :now, resolved_by = :by, reason = :reason,
                           certificate = :certificate
WHERE request_id = :request_id RETURNING {_COLUMNS}
""").bindparams(bindparam("certificate", type_=JSONB(none_as_null=True)))  # noqa: S608 - constants
_TO_ERASE = text(f"""
SELECT {_COLUMNS} FROM rights_requests
WHERE tenant = :tenant AND kind = 'erasure' AND state = 'open' AND erasure_id IS NULL
  AND person_keys && CAST(:keys AS text[])
ORDER BY request_id FOR UPDATE
""")  # noqa: S608 - constants
_ERASED_BY = text("""
UPDATE rights_requests SET erasure_id = :erasure_id
WHERE tenant = :tenant AND request_id = ANY(CAST(:ids AS uuid[])) AND state = 'open'
""")
_OF_ERASURE = text("""
SELECT request_id FROM rights_requests WHERE tenant = :tenant AND erasure_id = :erasure_id AND state = 'open'
ORDER BY request_id
""")
_TO_FORGET = text("""
SELECT request_id::text AS request_id, sealed_person FROM rights_requests
WHERE tenant = :tenant AND person_keys && CAST(:keys AS text[]) ORDER BY request_id FOR UPDATE
""")
_FORGET = text("""
UPDATE rights_requests SET sealed_person = :sealed_person, person_keys = CAST(:person_keys AS text[])
WHERE request_id = CAST(:request_id AS uuid)
""")
_OPEN = text("""
SELECT kind, count(*) AS open, count(*) FILTER (WHERE due_at < :now) AS overdue, :now - min(opened_at) AS oldest
FROM rights_requests WHERE state = 'open' GROUP BY kind
""")


def open_request(
    connection: Connection, keyring: Keyring, ids: DecisionIds, new: NewRequest, *, now: int
) -> RightsRequest:
    """Open a request now (micros), with its audit entry."""
    request_id = str(ids.next(now))
    row = connection.execute(
        _INSERT,
        {
            "request_id": request_id,
            "tenant": new.person.tenant,
            "kind": new.kind.value,
            "person_keys": new.person.keys(keyring),
            "sealed_person": new.person.seal(keyring, request_id),
            "identity": new.identity.value,
            "identity_note": new.identity_note,
            "opened_at": now,
            "opened_by": new.by,
            "due_at": due_dates.due_at(now),
        },
    ).one()
    audit.add(connection, tenant=row.tenant, who=new.by, act=Act.REQUEST_OPENED, object_id=request_id, at=now)
    return _request(row, keyring)


def find(connection: Connection, keyring: Keyring, *, tenant: str, request_id: UUID) -> RightsRequest:
    """RequestUnknownError."""
    return _request(_row(connection, tenant, request_id, lock=False), keyring)


def listed(
    connection: Connection,
    keyring: Keyring,
    *,
    tenant: str,
    state: State | None = None,
    after: str | None = None,
    most: int = PAGE,
) -> list[RightsRequest]:
    """Those that are open first, by due date; ``after``: the `position` of a request. ValueError for another text."""
    rank, due_at, request_id = _position(after) if after is not None else (None, None, None)
    rows = connection.execute(
        _LIST,
        {
            "tenant": tenant,
            "state": state.value if state is not None else None,
            "rank": rank,
            "due_at": due_at,
            "id": request_id,
            "most": most,
        },
    )
    return [_request(row, keyring) for row in rows]


def of_person(connection: Connection, keyring: Keyring, person: PersonRef, *, most: int = PAGE) -> list[RightsRequest]:
    """The requests of the subject, and those of the address, the oldest first; of more than ``most`` the open ones and
    the newest."""
    rows = connection.execute(_OF_PERSON, {"tenant": person.tenant, "keys": person.keys(keyring), "most": most})
    return [_request(row, keyring) for row in rows]


def extend(
    connection: Connection, keyring: Keyring, *, tenant: str, request_id: UUID, reason: str, by: str, now: int
) -> RightsRequest:
    """Two more months, once, within the first one. The same again changes nothing.

    RequestUnknownError, RequestResolvedError, RequestExtensionError.
    """
    row = _row(connection, tenant, request_id, lock=True)
    if row.state != State.OPEN:
        raise RequestResolvedError
    if row.extended_at is None:
        if row.due_at < now:
            raise RequestExtensionError
        values = {"request_id": request_id, "due_at": due_dates.extended(row.due_at), "now": now, "reason": reason}
        row = connection.execute(_EXTEND, values).one()
        audit.add(connection, tenant=tenant, who=by, act=Act.REQUEST_EXTENDED, object_id=str(request_id), at=now)
    elif row.extension_reason != reason:
        raise RequestExtensionError
    return _request(row, keyring)


def resolve(
    connection: Connection,
    keyring: Keyring,
    *,
    tenant: str,
    request_id: UUID,
    state: State,
    by: str,
    now: int,
    reason: str | None = None,
    certificate: Mapping[str, Any] | None = None,
) -> RightsRequest:
    """Done, or refused with a reason. The same again changes nothing. ``certificate`` holds no personal data.

    RequestUnknownError, RequestResolvedError.
    """
    row = _row(connection, tenant, request_id, lock=True)
    if row.state != State.OPEN:
        if (row.state, row.reason) != (state, reason):
            raise RequestResolvedError
        return _request(row, keyring)
    values = {"state": state.value, "now": now, "by": by, "reason": reason, "certificate": certificate}
    row = connection.execute(_RESOLVE, {"request_id": request_id, **values}).one()
    act = Act.REQUEST_DONE if state is State.DONE else Act.REQUEST_REFUSED
    audit.add(connection, tenant=tenant, who=by, act=act, object_id=str(request_id), at=now)
    return _request(row, keyring)


def to_carry_out(
    connection: Connection, keyring: Keyring, *, tenant: str, request_id: UUID, kind: Kind
) -> RightsRequest:
    """The request that a call for this right resolves, locked. RequestUnknownError, SubmissionInvalidError."""
    found = _request(_row(connection, tenant, request_id, lock=True), keyring)
    if found.kind is not kind:
        raise _not_to_carry_out("other_kind", f"send a request for {kind}: this one is for {found.kind}")
    if found.state is State.REFUSED:
        raise _not_to_carry_out("refused", "open another request: this one was refused")
    return found


def _not_to_carry_out(code: str, cure: str) -> SubmissionInvalidError:
    return SubmissionInvalidError([FieldViolation(pointer="/request_id", code=code, cure=cure)])


def erased_by(
    connection: Connection,
    keyring: Keyring,
    *,
    tenant: str,
    erasure_id: UUID,
    keys: Collection[str] = (),
    request_id: UUID | None = None,
) -> None:
    """An erasure carries these open requests out: ``request_id``, and those for the erasure of a person of whom it
    leaves nothing. ``keys``: the keyed hashes of whom it erases."""
    rows = connection.execute(_TO_ERASE, {"tenant": tenant, "keys": list(keys)}) if keys else ()
    ids = [] if request_id is None else [request_id]
    for found in (_request(row, keyring) for row in rows):
        if found.person is not None and found.person.is_within(keyring, keys):
            ids.append(found.id)
    connection.execute(_ERASED_BY, {"tenant": tenant, "erasure_id": erasure_id, "ids": ids})


def resolve_erased(
    connection: Connection,
    keyring: Keyring,
    *,
    tenant: str,
    erasure_id: UUID,
    by: str,
    now: int,
    certificate: Mapping[str, Any],
) -> None:
    """The erasure has ended: the open requests that it carries out are done, with its certificate."""
    ids = connection.execute(_OF_ERASURE, {"tenant": tenant, "erasure_id": erasure_id}).scalars().all()
    for each in ids:
        resolve(
            connection,
            keyring,
            tenant=tenant,
            request_id=each,
            state=State.DONE,
            by=by,
            now=now,
            certificate=certificate,
        )


def forget_person(connection: Connection, keyring: Keyring, person: PersonRef) -> int:
    """Keep the person's requests, without the person; how many."""
    return forget_keys(connection, keyring, tenant=person.tenant, keys=person.keys(keyring))


def forget_keys(connection: Connection, keyring: Keyring, *, tenant: str, keys: Collection[str]) -> int:
    """The same by the person's keyed hashes. A request of another subject, who named an address of this person, stays
    theirs by the reference alone."""
    rows = connection.execute(_TO_FORGET, {"tenant": tenant, "keys": list(keys)}).all()
    forgotten: list[dict[str, object]] = []
    for row in rows:
        person = person_ref.opened(keyring, tenant, row.sealed_person, row.request_id)
        left = person.without(keyring, keys) if person is not None else None
        forgotten.append(
            {
                "request_id": row.request_id,
                "sealed_person": left.seal(keyring, row.request_id) if left is not None else None,
                "person_keys": left.keys(keyring) if left is not None else [],
            }
        )
    if forgotten:
        connection.execute(_FORGET, forgotten)
    return len(rows)


def open_by_kind(connection: Connection, *, now: int) -> dict[Kind, OpenRequests]:
    """Of the kinds of which there are any."""
    rows = connection.execute(_OPEN, {"now": now})
    return {Kind(row.kind): OpenRequests(open=row.open, overdue=row.overdue, oldest=row.oldest) for row in rows}


def _row(connection: Connection, tenant: str, request_id: UUID, *, lock: bool) -> Row[Any]:
    statement = _LOCKED if lock else _ONE
    row = connection.execute(statement, {"tenant": tenant, "request_id": request_id}).one_or_none()
    if row is None:
        raise RequestUnknownError
    return row


def _position(text_: str) -> tuple[int, int, UUID]:
    rank, due_at, request_id = text_.split(".")
    return int(rank), int(due_at), UUID(request_id)


def _request(row: Row[Any], keyring: Keyring) -> RightsRequest:
    return RightsRequest(
        request_id=row.request_id,
        tenant=row.tenant,
        kind=Kind(row.kind),
        person=person_ref.opened(keyring, row.tenant, row.sealed_person, row.request_id),
        identity=Identity(row.identity),
        identity_note=row.identity_note,
        opened_at=row.opened_at,
        opened_by=row.opened_by,
        due_at=row.due_at,
        extended_at=row.extended_at,
        extension_reason=row.extension_reason,
        state=State(row.state),
        resolved_at=row.resolved_at,
        resolved_by=row.resolved_by,
        reason=row.reason,
        certificate=row.certificate,
        erasure_id=row.erasure_id,
    )
