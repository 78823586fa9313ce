"""Persons who have been erased, and what brings them back: a permission that the person gives since, nothing else.

Neither an import nor any permission of before: what is sent about them by a system that still holds them is refused,
and nothing of it is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Connection, text

from consent_api.domain.addresses import Address
from consent_api.domain.validation import BY_LINK, ValidDecision
from consent_api.errors import FieldViolation
from consent_contracts.join import permits_after
from consent_privacy.keyring import Keyring

Erased = dict[tuple[str, ...], int | None]
"""By (tenant, subject_ref) and (tenant, channel, canonical address): when they were erased (micros); None: an erasure
is in progress."""

_REFERENCE = "rights subject"
"""No channel has a blank in its name: a reference and an address never have the same key."""

_FIND = text("""
SELECT p.tenant, p.person_key, p.erased_at
FROM erased_persons p JOIN unnest(CAST(:tenants AS text[]), CAST(:keys AS text[])) AS wanted (tenant, person_key)
    USING (tenant, person_key)
""")
_COMES_BACK = text("DELETE FROM erased_persons WHERE tenant = :tenant AND person_key = ANY(CAST(:keys AS text[]))")

IN_PROGRESS = FieldViolation(
    pointer="/status",
    code="erasure_in_progress",
    cure="an erasure of this person is in progress: send a permission that the person gives once it has ended",
)
ERASED = FieldViolation(
    pointer="/status",
    code="erased",
    cure="this person has been erased, and your system still holds them: erase them there too. Only a permission that"
    " the person has given since brings them back, sent live, with the time at which it was given",
)


def subject_keys(keyring: Keyring, tenant: str, subject_ref: str) -> tuple[str, ...]:
    """Keyed hashes of a reference, under each live hash key, the primary's first."""
    return keyring.live_address_keys(tenant, _REFERENCE, hashlib.sha256(subject_ref.encode()).hexdigest())


def find(connection: Connection, keyring: Keyring, persons: Iterable[tuple[str, ...]]) -> Erased:
    """Those of these persons, named as in `Erased`, that have been erased. In one statement, before anything of them is
    stored."""
    wanted = {key: person for each in persons for key, person in _keys(keyring, each).items()}
    if not wanted:
        return {}
    tenants, keys = zip(*wanted, strict=True)
    rows = connection.execute(_FIND, {"tenants": list(tenants), "keys": list(keys)})
    return {wanted[row.tenant, row.person_key]: row.erased_at for row in rows}


def comes_back(connection: Connection, keyring: Keyring, permission: ValidDecision) -> None:
    """The person has given a new permission: what is sent about them is recorded again."""
    keys = [key for person in persons(permission) for _, key in _keys(keyring, person)]
    connection.execute(_COMES_BACK, {"tenant": permission.tenant, "keys": keys})


def why_refused(permission: ValidDecision, erased: Mapping[tuple[str, ...], int | None]) -> FieldViolation | None:
    """Why a permission is not recorded; None where no erasure is in its way. Pure."""
    moments = [erased[person] for person in persons(permission) if person in erased]
    return _why(permission, moments)


def why_not_linked(
    erased: Mapping[tuple[str, ...], int | None], person: tuple[str, ...], pointer: str
) -> FieldViolation | None:
    """Why a subject or an address is not linked: a link is no permission, so that it brings no erased person back.
    Pure."""
    if person not in erased:
        return None
    return replace(IN_PROGRESS if erased[person] is None else ERASED, pointer=pointer)


def why_refused_at(permission: ValidDecision, address: Address) -> FieldViolation | None:
    """The same of the address as it is now: an erasure may have begun, or ended, since `find`. Pure."""
    if address.erasing:
        return IN_PROGRESS
    return _why(permission, [address.erased_at]) if address.is_erased else None


def _why(permission: ValidDecision, moments: Collection[int | None]) -> FieldViolation | None:
    for moment in moments:
        if moment is None:
            return IN_PROGRESS
        if not _is_given_since(permission, since=moment):
            return ERASED
    return None


def _is_given_since(permission: ValidDecision, *, since: int) -> bool:
    if permission.bulk or not permission.may_lift:
        return False
    # A system that sends what it holds names no time, or an older one.
    is_dated = permission.occurred_at is not None or permission.sender == BY_LINK
    return is_dated and permission.effective_at >= permits_after(since)


def persons(permission: ValidDecision) -> list[tuple[str, ...]]:
    """Of whom it is: subject and address, as `Erased` names them."""
    found: list[tuple[str, ...]] = []
    if permission.subject_ref is not None:
        found.append((permission.tenant, permission.subject_ref))
    if permission.address is not None:
        found.append((permission.tenant, permission.channel, permission.address))
    return found


def _keys(keyring: Keyring, person: tuple[str, ...]) -> dict[tuple[str, str], tuple[str, ...]]:
    """By (tenant, keyed hash)."""
    keys = keyring.live_address_keys(*person) if len(person) == 3 else subject_keys(keyring, *person)
    return {(person[0], key): person for key in keys}
