"""Permissions that are about to end: each is found once, so that its renewal can be asked for ahead of time (R37).

Nothing is renewed here: a permission that no person gives again ends. A row of `renewals` says that a permission was
looked at; `due` that its renewal is asked for, because it was in force then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from consent_api.ledger import addresses
from consent_api.ledger.current import CurrentDecisions
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN, Decision
from consent_contracts.verdict import effective_verdict, verdict
from consent_privacy.errors import DecryptionFailedError, UnknownTenantError
from consent_privacy.keyring import Keyring

DAY_MICROS = 24 * 3600 * 1_000_000
PAGE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewal:
    """A permission that ends at ``expires_at``; times in micros. ``address_key``: of an address that it permits."""

    decision_id: str
    tenant: str
    channel: str
    purpose: str
    subject_ref: str | None
    address_key: str
    given_at: int
    expires_at: int
    asked_at: int


# A permission that was given for a short time is asked for in the second half of it.
_ENDING = text("""
SELECT d.decision_id::text AS decision_id, d.tenant, d.purpose, d.address_id, s.subject_ref,
       ARRAY(SELECT r.address_id FROM decision_addresses r WHERE r.decision_id = d.decision_id ORDER BY 1) AS reached
FROM decisions d LEFT JOIN subjects s USING (subject_id)
WHERE d.status = 'given' AND d.expires_at > :now AND d.expires_at <= :until
  AND :now >= d.effective_at + (d.expires_at - d.effective_at) / 2
  AND NOT EXISTS (SELECT FROM renewals n WHERE n.decision_id = d.decision_id)
ORDER BY d.expires_at LIMIT :most
""")
_NOTE = text("""
INSERT INTO renewals (decision_id, due, address_id, address_key, asked_at)
SELECT decision_id, due, address_id, address_key, :now
FROM unnest(CAST(:ids AS uuid[]), CAST(:due AS boolean[]), CAST(:addresses AS bigint[]), CAST(:keys AS text[]))
    AS new (decision_id, due, address_id, address_key)
ON CONFLICT DO NOTHING
""")
_COLUMNS = """
d.decision_id::text AS decision_id, d.tenant, d.channel, d.purpose, s.subject_ref, n.address_id, n.address_key,
d.effective_at, d.expires_at, n.asked_at
"""
_UNPUBLISHED = text(f"""
SELECT {_COLUMNS} FROM renewals n JOIN decisions d USING (decision_id) LEFT JOIN subjects s USING (subject_id)
WHERE n.due AND n.published_at IS NULL
ORDER BY d.expires_at LIMIT :most FOR UPDATE OF n SKIP LOCKED
""")  # noqa: S608 - constants
_PUBLISHED = text("UPDATE renewals SET published_at = :now WHERE decision_id = ANY(CAST(:ids AS uuid[]))")
_PAGE = text(f"""
SELECT {_COLUMNS} FROM renewals n JOIN decisions d USING (decision_id) LEFT JOIN subjects s USING (subject_id)
WHERE n.due AND d.tenant = :tenant AND d.expires_at > :now
  AND (d.expires_at, d.decision_id) > (:expires_at, CAST(:decision_id AS uuid))
ORDER BY d.expires_at, d.decision_id LIMIT :most
""")  # noqa: S608 - constants
_BEGINNING = (0, str(UUID(int=0)))


def note_ending(connection: Connection, keyring: Keyring, *, days: int, now: int, most: int) -> int:
    """Note the permissions that end within so many days and were not looked at, up to `most`; how many."""
    rows = connection.execute(_ENDING, {"now": now, "until": now + days * DAY_MICROS, "most": most}).all()
    if not rows:
        return 0
    current = _current(connection, {each for row in rows for each in row.reached})
    due = {row.decision_id: address_id for row in rows if (address_id := _in_force_at(current, row, now)) is not None}
    keys = _address_keys(connection, keyring, due.values(), now=now)
    places = [(row.decision_id, due.get(row.decision_id)) for row in rows]
    connection.execute(
        _NOTE,
        {
            "ids": [decision_id for decision_id, _ in places],
            "due": [address_id in keys for _, address_id in places],
            "addresses": [address_id if address_id in keys else None for _, address_id in places],
            "keys": [keys.get(address_id) if address_id is not None else None for _, address_id in places],
            "now": now,
        },
    )
    return len(rows)


def unpublished(connection: Connection, *, now: int, most: int) -> tuple[list[Renewal], list[str]]:
    """Those that Kafka has not acknowledged, locked, and the ids of others that are not to be published any more."""
    rows = connection.execute(_UNPUBLISHED, {"most": most}).all()
    wanted = set(_in_force(connection, rows, now=now))
    over = [row.decision_id for row in rows if row.decision_id not in wanted]
    return [_renewal(row) for row in rows if row.decision_id in wanted], over


def mark_published(connection: Connection, decision_ids: Collection[str], *, now: int) -> None:
    if decision_ids:
        connection.execute(_PUBLISHED, {"ids": list(decision_ids), "now": now})


def listed(
    connection: Connection, tenant: str, *, now: int, after: tuple[int, str] | None = None, most: int = PAGE
) -> tuple[list[Renewal], tuple[int, str] | None]:
    """The renewals that a tenant is to ask for, the nearest end first, and where the next page begins, if there is one:
    of permissions that are in force still. A page may have fewer than `most`, and further ones follow."""
    expires_at, decision_id = after or _BEGINNING
    rows = connection.execute(
        _PAGE,
        {"tenant": tenant, "now": now, "expires_at": expires_at, "decision_id": decision_id, "most": most + 1},
    ).all()
    page = rows[:most]
    wanted = set(_in_force(connection, page, now=now))
    more = (page[-1].expires_at, page[-1].decision_id) if len(rows) > most else None
    return [_renewal(row) for row in page if row.decision_id in wanted], more


def _in_force(connection: Connection, rows: Sequence[Row[Any]], *, now: int) -> Iterable[str]:
    current = _current(connection, {row.address_id for row in rows})
    return (row.decision_id for row in rows if decides(current, row, row.address_id, now=now))


def _in_force_at(current: CurrentDecisions, row: Row[Any], now: int) -> int | None:
    """An address that the permission permits: the one that it was given for, if that is one."""
    found = [each for each in row.reached if decides(current, row, each, now=now)]
    return row.address_id if row.address_id in found else next(iter(found), None)


def decides(current: CurrentDecisions, row: Row[Any], address_id: int, *, now: int) -> bool:
    """Whether an address may be contacted, and this permission is what its person decided last."""
    return is_renewable(current.at(address_id), row.decision_id, row.subject_ref, row.purpose, now=now)


def is_renewable(
    there: Collection[Decision], decision_id: str, subject_ref: str | None, purpose: str, *, now: int
) -> bool:
    """Of the current decisions on an address. Pure."""
    everything = effective_verdict({EVERY_PURPOSE: verdict(list(there), purpose)}, EVERY_PURPOSE, now)
    own = [each for each in there if each.subject_ref in (None, subject_ref)]
    return everything.permitted and verdict(own, purpose).decision_id == decision_id


def _current(connection: Connection, address_ids: Collection[int]) -> CurrentDecisions:
    current = CurrentDecisions()
    current.need(GIVEN, 0, None, address_ids)
    current.read(connection)
    return current


def _address_keys(
    connection: Connection, keyring: Keyring, address_ids: Collection[int], *, now: int
) -> Mapping[int, str]:
    """The primary key of each address, one by one where they cannot be had together: one tenant's stops no other's."""
    try:
        return {each: found.key for each, found in addresses.load(connection, keyring, address_ids, now=now).items()}
    except (UnknownTenantError, DecryptionFailedError):
        if len(address_ids) < 2:
            return {}
        singly = [_address_keys(connection, keyring, [each], now=now) for each in address_ids]
        return {address_id: key for of_one in singly for address_id, key in of_one.items()}


def _renewal(row: Row[Any]) -> Renewal:
    return Renewal(
        decision_id=row.decision_id,
        tenant=row.tenant,
        channel=row.channel,
        purpose=row.purpose,
        subject_ref=row.subject_ref,
        address_key=row.address_key,
        given_at=row.effective_at,
        expires_at=row.expires_at,
        asked_at=row.asked_at,
    )
