"""Legal holds: a person with one is not erased, until it ends or is released."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from consent_api.errors import ErasureBegunError, FieldViolation, HoldUnknownError, SubmissionInvalidError
from consent_api.ledger.ids import DecisionIds
from consent_api.rights import audit
from consent_api.rights.audit import Act
from consent_api.rights.person_ref import PersonRef
from consent_privacy.keyring import Keyring

PAGE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Times in micros. ``until``: None, until it is released. ``reason`` holds no address."""

    hold_id: str
    reason: str
    set_at: int
    set_by: str
    until: int | None


_COLUMNS = "hold_id::text AS hold_id, reason, set_at, set_by, until"
_SET = text("""
INSERT INTO legal_holds (hold_id, tenant, person_keys, reason, set_at, set_by, until)
VALUES (CAST(:hold_id AS uuid), :tenant, CAST(:person_keys AS text[]), :reason, :set_at, :set_by, :until)
""")
_IN_FORCE = "tenant = :tenant AND released_at IS NULL AND (until IS NULL OR until > :now)"
_OF_PERSON = text(f"""
SELECT {_COLUMNS} FROM legal_holds WHERE person_keys && CAST(:keys AS text[]) AND {_IN_FORCE}
ORDER BY until DESC NULLS FIRST LIMIT 1
""")  # noqa: S608 - constants
_LIST = text(f"SELECT {_COLUMNS} FROM legal_holds WHERE {_IN_FORCE} ORDER BY hold_id LIMIT :most")  # noqa: S608
_RELEASE = text(f"""
UPDATE legal_holds SET released_at = :now, released_by = :by
WHERE tenant = :tenant AND hold_id = :hold_id AND released_at IS NULL RETURNING {_COLUMNS}
""")  # noqa: S608 - constants


# Of an erasure by address alone, the person whose address it is, too.
_BEGUN = text("""
SELECT e.requested_at FROM erasures e
WHERE e.tenant = :tenant AND e.ended_at IS NULL AND (
    EXISTS (SELECT FROM erased_persons p
            WHERE p.erasure_id = e.erasure_id AND p.tenant = e.tenant AND p.person_key = ANY(CAST(:keys AS text[])))
    OR EXISTS (SELECT FROM erasure_addresses a
               JOIN subject_addresses l ON l.address_id = a.address_id AND l.unlinked_at IS NULL
               JOIN subjects s USING (subject_id)
               WHERE a.erasure_id = e.erasure_id AND a.forget AND (s.tenant, s.subject_ref) = (:tenant, :ref)))
ORDER BY e.requested_at LIMIT 1
""")
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('erasures of ' || :tenant, 0))")


def one_at_a_time(connection: Connection, *, tenant: str) -> None:
    """Erasures begin and holds are set one after the other, so that of the two each sees the other."""
    connection.execute(_ONE_AT_A_TIME, {"tenant": tenant})


def add(
    connection: Connection,
    keyring: Keyring,
    ids: DecisionIds,
    person: PersonRef,
    *,
    reason: str,
    until: int | None,
    by: str,
    now: int,
) -> Hold:
    """SubmissionInvalidError where it would have ended already; ErasureBegunError where it comes too late."""
    if until is not None and until <= now:
        raise SubmissionInvalidError([FieldViolation(pointer="/until", code="in_the_past", cure="send a time to come")])
    one_at_a_time(connection, tenant=person.tenant)
    values = {"tenant": person.tenant, "keys": person.keys(keyring), "ref": person.subject_ref}
    begun = connection.execute(_BEGUN, values).scalar_one_or_none()
    if begun is not None:
        raise ErasureBegunError(begun)
    hold = Hold(hold_id=str(ids.next(now)), reason=reason, set_at=now, set_by=by, until=until)
    connection.execute(
        _SET,
        {
            "hold_id": hold.hold_id,
            "tenant": person.tenant,
            "person_keys": person.keys(keyring),
            "reason": reason,
            "set_at": now,
            "set_by": by,
            "until": until,
        },
    )
    audit.add(connection, tenant=person.tenant, who=by, act=Act.HOLD_SET, object_id=hold.hold_id, at=now)
    return hold


def release(connection: Connection, *, tenant: str, hold_id: UUID, by: str, now: int) -> Hold:
    """HoldUnknownError: there is none in force with this id."""
    values = {"tenant": tenant, "hold_id": hold_id, "by": by, "now": now}
    row = connection.execute(_RELEASE, values).mappings().one_or_none()
    if row is None:
        raise HoldUnknownError
    audit.add(connection, tenant=tenant, who=by, act=Act.HOLD_RELEASED, object_id=str(hold_id), at=now)
    return Hold(**row)


def in_force(connection: Connection, *, tenant: str, now: int, most: int = PAGE) -> list[Hold]:
    """The oldest first."""
    return [Hold(**row) for row in connection.execute(_LIST, {"tenant": tenant, "now": now, "most": most}).mappings()]


def of(connection: Connection, *, tenant: str, person_keys: Collection[str], now: int) -> Hold | None:
    """The hold that lasts longest, if any."""
    values = {"tenant": tenant, "keys": sorted(person_keys), "now": now}
    row = connection.execute(_OF_PERSON, values).mappings().one_or_none()
    return None if row is None else Hold(**row)
