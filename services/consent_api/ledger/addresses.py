"""Addresses as the ledger knows them: a number, and for each live hash key the address_key and the sealed address."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, TextClause, text

from consent_api.domain.addresses import Address, Named
from consent_privacy.addresses import PHONE_CHANNELS, aliases
from consent_privacy.errors import DecryptionFailedError, UnknownTenantError
from consent_privacy.keyring import Keyring

log = logging.getLogger(__name__)

K = TypeVar("K")

_FIND = text("""
SELECT k.address_id, k.tenant, k.channel, k.address_key, k.sealed_address, a.erasing_at, a.erased_at
FROM address_keys k
JOIN addresses a ON a.address_id = k.address_id
JOIN unnest(CAST(:tenants AS text[]), CAST(:channels AS text[]), CAST(:keys AS text[]))
    AS wanted (tenant, channel, address_key)
    ON (k.tenant, k.channel, k.address_key) = (wanted.tenant, wanted.channel, wanted.address_key)
""")
_LINKED = text("""
SELECT l.subject_id, k.address_id, k.tenant, k.channel, k.address_key, k.sealed_address, a.erasing_at, a.erased_at
FROM subject_addresses l JOIN addresses a USING (address_id) JOIN address_keys k USING (address_id)
WHERE l.subject_id = ANY(CAST(:subject_ids AS bigint[])) AND l.unlinked_at IS NULL
""")
_OF_IDS = text("""
SELECT k.address_id, k.tenant, k.channel, k.address_key, k.sealed_address, a.erasing_at, a.erased_at
FROM address_keys k JOIN addresses a USING (address_id) WHERE k.address_id = ANY(CAST(:ids AS bigint[]))
""")
# A transaction that lets a decision reach the address refers to its row, and holds it FOR KEY SHARE until it ends.
_LOCK = text("""
SELECT address_id FROM addresses WHERE address_id = ANY(CAST(:ids AS bigint[])) ORDER BY address_id FOR UPDATE
""")
_NUMBERS = text("SELECT nextval('address_id_seq') FROM generate_series(1, :count)")
_CREATE = text("""
INSERT INTO addresses (address_id, tenant, channel, created_at)
SELECT address_id, tenant, channel, :now
FROM unnest(CAST(:ids AS bigint[]), CAST(:tenants AS text[]), CAST(:channels AS text[]))
    AS new (address_id, tenant, channel)
""")
# No ON CONFLICT: of two writers that meet at a new address the second gets an error, starts again and finds it.
# The order keeps them from deadlocking.
_ADD_KEYS = text("""
INSERT INTO address_keys (tenant, channel, address_key, address_id, sealed_address, created_at)
SELECT tenant, channel, address_key, address_id, sealed_address, :now
FROM unnest(CAST(:tenants AS text[]), CAST(:channels AS text[]), CAST(:keys AS text[]), CAST(:ids AS bigint[]),
            CAST(:sealed AS bytea[])) AS new (tenant, channel, address_key, address_id, sealed_address)
ORDER BY tenant, channel, address_key
""")
# Of an address that has its number already, a stored key is as good as ours: another writer was first, or,
# when a hash key was retired before every address had its successor, the address was created again under another
# number.
# Refusing to go on would refuse the subject's next refusal for ever.
_COMPLETE_KEYS = text(f"{_ADD_KEYS.text} ON CONFLICT DO NOTHING")

_SEAL_AGAIN = text("SELECT seal_address_again(:address_id, CAST(:keys AS text[]), CAST(:sealed AS bytea[]))")

_NewKey = tuple[str, str, str, int, bytes | None]


def resolve(
    connection: Connection, keyring: Keyring, named: Collection[Named], *, now: int, create: bool = True
) -> dict[Named, Address]:
    """Each address, found under any live key or created, and from now on stored under every live key. Without
    ``create`` those alone that exist."""
    if not named:
        return {}
    live = {each: keyring.live_address_keys(*each) for each in named}
    known = _known(connection, live)
    new = {each: None for each in named if create and each not in known}
    if new:
        created = _create(connection, new, now=now)
        known.update({each: _Stored(address_id=address_id) for each, address_id in created.items()})
    found: dict[Named, Address] = {}
    new_keys: list[_NewKey] = []
    for (tenant, channel, canonical), stored in known.items():
        keys = live[tenant, channel, canonical]
        if stored.is_erased:
            # Naming it does not bring it back, nor under a newer hash key, where none of its refusals are.
            sealed = {key: stored.sealed[key] for key in keys if key in stored.sealed}
        else:
            sealed = {key: stored.sealed.get(key) or keyring.seal(key, canonical) for key in keys}
        new_keys += [
            (tenant, channel, key, stored.address_id, sealed[key]) for key in sealed if key not in stored.sealed
        ]
        found[tenant, channel, canonical] = Address(
            address_id=stored.address_id,
            tenant=tenant,
            channel=channel,
            sealed=sealed,
            canonical=canonical,
            is_new=(tenant, channel, canonical) in new,
            erasing=stored.erasing,
            erased_at=stored.erased_at,
        )
    _add_keys(connection, new_keys, now=now)
    return found


def find(connection: Connection, keyring: Keyring, named: Named) -> Address | None:
    """An address that exists, stored under any live key; nothing is written."""
    known = _known(connection, {named: keyring.live_address_keys(*named)})
    if named not in known:
        return None
    stored = known[named]
    return Address(
        address_id=stored.address_id,
        tenant=named[0],
        channel=named[1],
        sealed=stored.sealed,
        erasing=stored.erasing,
        erased_at=stored.erased_at,
    )


def seal_again(connection: Connection, keyring: Keyring, address: Address, canonical: str, *, now: int) -> Address:
    """An erased address, as the person has named it in a new permission: under every live key."""
    tenant, channel = address.tenant, address.channel
    sealed = {key: keyring.seal(key, canonical) for key in keyring.live_address_keys(tenant, channel, canonical)}
    gained = [
        (tenant, channel, key, address.address_id, each) for key, each in sealed.items() if key not in address.sealed
    ]
    _add_keys(connection, gained, now=now)
    connection.execute(
        _SEAL_AGAIN, {"address_id": address.address_id, "keys": list(sealed), "sealed": list(sealed.values())}
    )
    return replace(address, sealed=sealed, canonical=canonical)


def alias_names(keyring: Keyring, address: Address) -> list[Named]:
    """The other addresses of the same line, which a refusal on this one reaches too.

    None where the address cannot be opened: its seal key is gone, or it has been erased, and the other forms with it.
    The refusal is recorded all the same.
    """
    canonical = address.canonical
    sealed = address.sealed[address.key]
    if canonical is None and sealed is not None and address.channel in PHONE_CHANNELS:
        try:
            canonical = keyring.open(address.key, sealed)
        except DecryptionFailedError as error:
            log.warning(
                "a refusal reaches no other form of an address, because the address cannot be opened",
                extra={"tenant": address.tenant, "channel": address.channel, "reason": error.reason},
            )
    return names_of_aliases((address.tenant, address.channel, canonical)) if canonical is not None else []


def names_of_aliases(named: Named) -> list[Named]:
    """The same for an address that is named."""
    tenant, channel, canonical = named
    return [(tenant, channel, alias) for alias in aliases(channel, canonical)]


def lock(connection: Connection, address_ids: Collection[int]) -> None:
    """Wait for the transactions whose decisions reach these addresses; let none reach them until this one ends."""
    if address_ids:
        connection.execute(_LOCK, {"ids": sorted(address_ids)})


def load(
    connection: Connection, keyring: Keyring, address_ids: Collection[int], *, now: int, unknown_as_stored: bool = False
) -> dict[int, Address]:
    """Addresses by id, as `refresh` completes them."""
    if not address_ids:
        return {}
    rows = connection.execute(_OF_IDS, {"ids": sorted(address_ids)}).all()
    return refresh(connection, keyring, rows, now=now, unknown_as_stored=unknown_as_stored)


def linked(
    connection: Connection, keyring: Keyring, subject_ids: Collection[int], *, now: int
) -> dict[int, list[Address]]:
    """The addresses of each subject, on all channels. Those stored before a new hash key gain theirs here."""
    if not subject_ids:
        return {}
    rows = connection.execute(_LINKED, {"subject_ids": list(subject_ids)}).all()
    addresses = refresh(connection, keyring, rows, now=now)
    pairs = {(row.subject_id, row.address_id) for row in rows}
    of_subject: dict[int, list[Address]] = defaultdict(list)
    for subject_id, address_id in sorted(pairs):
        of_subject[subject_id].append(addresses[address_id])
    return of_subject


def refresh(
    connection: Connection,
    keyring: Keyring,
    rows: Iterable[Row[tuple[object, ...]]],
    *,
    now: int,
    unknown_as_stored: bool = False,
) -> dict[int, Address]:
    """Addresses by id, from rows of address_keys: under each live hash key, sealed again where one is missing.

    `unknown_as_stored`: those of a tenant that the keyring does not know under all their stored keys, in no order.
    Raises UnknownTenantError otherwise, and DecryptionFailedError when no live key has an address that cannot be
    opened.
    """
    stored: dict[int, _Stored] = {}
    whose: dict[int, tuple[str, str]] = {}
    for row in rows:
        _take(stored, row.address_id, row)
        whose[row.address_id] = (row.tenant, row.channel)
    found: dict[int, Address] = {}
    new_keys: list[_NewKey] = []
    for address_id, each in stored.items():
        tenant, channel = whose[address_id]
        sealed = each.sealed
        address = Address(
            address_id=address_id,
            tenant=tenant,
            channel=channel,
            sealed=sealed,
            erasing=each.erasing,
            erased_at=each.erased_at,
        )
        if unknown_as_stored and tenant not in keyring.hash_keys:
            found[address_id] = address
            continue
        by_hash_key = {address_key.partition(".")[0]: address_key for address_key in sealed}
        live = live_key_ids(keyring, tenant)
        any_key, any_sealed = next(iter(sealed.items()))
        # One that is erased stays under the keys that it has.
        if any_sealed is not None and not all(key_id in by_hash_key for key_id in live):
            try:
                canonical = keyring.open(any_key, any_sealed)
            except DecryptionFailedError as error:
                if by_hash_key.keys().isdisjoint(live):
                    raise
                # A refusal under the keys that it has is worth more than none. A rotation does not end meanwhile:
                # the new key counts as incomplete.
                log.warning(
                    "an address stays under its older hash keys, because it cannot be opened",
                    extra={"tenant": tenant, "channel": channel, "reason": error.reason},
                )
            else:
                for address_key in keyring.live_address_keys(tenant, channel, canonical):
                    if address_key not in sealed:
                        sealed[address_key] = keyring.seal(address_key, canonical)
                        by_hash_key[address_key.partition(".")[0]] = address_key
                        new_keys.append((tenant, channel, address_key, address_id, sealed[address_key]))
        of_live = {by_hash_key[key_id]: sealed[by_hash_key[key_id]] for key_id in live if key_id in by_hash_key}
        # An erased one of which no hash key is live any more keeps its keys: it must not stop the subject's refusals.
        found[address_id] = replace(address, sealed=of_live or sealed)
    _add_keys(connection, new_keys, now=now, statement=_COMPLETE_KEYS)
    return found


def live_key_ids(keyring: Keyring, tenant: str) -> list[str]:
    """The ids of the tenant's live hash keys, the primary's first. UnknownTenantError when it has none."""
    if tenant not in keyring.hash_keys:
        raise UnknownTenantError(tenant)
    return [key.id for key in sorted(keyring.hash_keys[tenant], key=lambda key: not key.primary)]


@dataclass(kw_only=True, slots=True)
class _Stored:
    """The rows of one address."""

    address_id: int
    sealed: dict[str, bytes | None] = field(default_factory=dict)
    erasing: bool = False
    erased_at: int | None = None

    @property
    def is_erased(self) -> bool:
        return None in self.sealed.values()


def _take(stored: dict[K, _Stored], key: K, row: Row[Any]) -> None:
    of_address = stored.setdefault(key, _Stored(address_id=row.address_id))
    of_address.sealed[row.address_key] = row.sealed_address
    of_address.erasing, of_address.erased_at = row.erasing_at is not None, row.erased_at


def _known(connection: Connection, live: Mapping[Named, tuple[str, ...]]) -> dict[Named, _Stored]:
    wanted = {
        (tenant, channel, key): (tenant, channel, canonical)
        for (tenant, channel, canonical), keys in live.items()
        for key in keys
    }
    tenants, channels, keys = zip(*wanted, strict=True)
    rows = connection.execute(_FIND, {"tenants": list(tenants), "channels": list(channels), "keys": list(keys)})
    known: dict[Named, _Stored] = {}
    for row in rows:
        _take(known, wanted[row.tenant, row.channel, row.address_key], row)
    return known


def _create(connection: Connection, named: Collection[Named], *, now: int) -> dict[Named, int]:
    numbers = connection.execute(_NUMBERS, {"count": len(named)}).scalars().all()
    connection.execute(
        _CREATE,
        {
            "ids": list(numbers),
            "tenants": [tenant for tenant, _, _ in named],
            "channels": [channel for _, channel, _ in named],
            "now": now,
        },
    )
    return dict(zip(named, numbers, strict=True))


def _add_keys(
    connection: Connection, keys: Collection[_NewKey], *, now: int, statement: TextClause = _ADD_KEYS
) -> None:
    if not keys:
        return
    tenants, channels, address_keys, ids, sealed = zip(*keys, strict=True)
    connection.execute(
        statement,
        {
            "tenants": list(tenants),
            "channels": list(channels),
            "keys": list(address_keys),
            "ids": list(ids),
            "sealed": list(sealed),
            "now": now,
        },
    )
