"""Which hash keys hold everything: under the oldest live one every decision was published when it was recorded, under
a newer one after a republish of the whole ledger. The ledger remembers those."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, text

from consent_api.ledger.database import CLOCK_MICROS
from consent_privacy.keyring import Key, Keyring, key_order

# The clock is the database's, as the resolved timestamps' is.
_STORE = text(f"""
INSERT INTO key_republished (tenant, key_id, fingerprint, completed_at)
VALUES (:tenant, :key_id, :fingerprint, {CLOCK_MICROS})
ON CONFLICT (tenant, key_id, fingerprint) DO UPDATE SET completed_at = excluded.completed_at
""")  # noqa: S608 - constants
_READ = text("SELECT key_id, fingerprint, completed_at FROM key_republished WHERE tenant = :tenant")
# Recorded by a process that does not have the key yet: what it recorded is missing under that key. An erased address
# cannot be hashed again, and is found under the keys that it has.
_MISSING = text("""
SELECT EXISTS (
    SELECT FROM addresses a WHERE a.tenant = :tenant AND NOT EXISTS (
        SELECT FROM address_keys k
        WHERE k.address_id = a.address_id AND (k.address_key LIKE :prefix OR k.sealed_address IS NULL)))
""")
_ERASED_UNDER = text("""
SELECT (
    SELECT count(*) FROM address_keys k
    WHERE k.tenant = :tenant AND k.sealed_address IS NULL AND k.address_key LIKE :prefix AND NOT EXISTS (
        SELECT FROM address_keys o WHERE o.address_id = k.address_id
          AND split_part(o.address_key, '.', 1) = ANY(CAST(:others AS text[])))
) + (
    SELECT count(*) FROM erased_persons p
    WHERE p.tenant = :tenant AND p.person_key LIKE :prefix AND NOT EXISTS (
        SELECT FROM erased_persons o WHERE o.erasure_id = p.erasure_id AND o.tenant = p.tenant
          AND split_part(o.person_key, '.', 1) = ANY(CAST(:others AS text[])))
)
""")

TenantKey = tuple[str, str]
"""(tenant, key id)"""


def required_to_promote(keys: Sequence[Key], key_id: str) -> set[str]:
    """The ids of the live keys that must hold everything before `key_id` becomes primary. Pure."""
    return {key_id} - {_oldest(keys)}


def required_to_retire(keys: Sequence[Key], key_id: str) -> set[str]:
    """The ids of the live keys that must hold everything before `key_id` goes: the primary one, where readers look
    first, and the oldest of those that remain, from which permissions are delivered. Pure."""
    remaining = [key for key in keys if key.id != key_id]
    if not remaining:
        return set()
    return ({key.id for key in remaining if key.primary} | {_oldest(remaining)}) - {_oldest(keys)}


def store_completed(connection: Connection, keyring: Keyring, keys: Iterable[TenantKey]) -> None:
    """Everything that the ledger holds has been published under these keys."""
    rows = [
        {"tenant": tenant, "key_id": key_id, "fingerprint": _fingerprint(keyring, tenant, key_id)}
        for tenant, key_id in keys
    ]
    if rows:
        connection.execute(_STORE, rows)


def incomplete(connection: Connection, keyring: Keyring, tenant: str, key_ids: Collection[str]) -> list[str]:
    """Those of the tenant's live keys under which something may be missing, the oldest first."""
    known = _completed(connection, keyring, tenant)
    return [
        key_id
        for key_id in sorted(key_ids, key=key_order)
        if key_id not in known or connection.execute(_MISSING, {"tenant": tenant, "prefix": f"{key_id}.%"}).scalar_one()
    ]


def erased_under(connection: Connection, keyring: Keyring, tenant: str, key_id: str) -> int:
    """How many erased addresses and persons are known by this key alone: without it an import would bring them back,
    and no one would know of their refusals."""
    others = [key.id for key in keyring.hash_keys[tenant] if key.id != key_id]
    values = {"tenant": tenant, "prefix": f"{key_id}.%", "others": others}
    return int(connection.execute(_ERASED_UNDER, values).scalar_one())


def completed_at(connection: Connection, keyring: Keyring, tenant: str, key_ids: Collection[str]) -> int:
    """When everything had been published under the last of these keys, none of which is incomplete. Micros, by the
    database's clock."""
    known = _completed(connection, keyring, tenant)
    return max(known[key_id] for key_id in key_ids)


def _completed(connection: Connection, keyring: Keyring, tenant: str) -> dict[str, int]:
    """By key id of the tenant's live keys."""
    rows = {(row.key_id, row.fingerprint): row.completed_at for row in connection.execute(_READ, {"tenant": tenant})}
    keys = [(key.id, _fingerprint(keyring, tenant, key.id)) for key in keyring.hash_keys[tenant]]
    return {key[0]: rows[key] for key in keys if key in rows}


def _oldest(keys: Iterable[Key]) -> str:
    return min((key.id for key in keys), key=key_order)


def _fingerprint(keyring: Keyring, tenant: str, key_id: str) -> str:
    """Distinguishes two secrets with one id, and reveals neither. (No channel has a blank in its name.)"""
    hashes = keyring.live_address_keys(tenant, "key fingerprint", key_id)
    return next(each for each in hashes if each.startswith(f"{key_id}."))
