"""What the ledger holds of each address under each hash key, page by page, in the order in which they were recorded:
in that order they are next to one another in the tables.

Pages instead of one long cursor, which would hold a snapshot of the database for minutes or, for the scrub, for hours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Row, text

from consent_api.domain.fan_out import PublishableDecision
from consent_api.ledger.key_rotation import incomplete
from consent_api.ledger.lanes import MARK
from consent_api.ledger.rows import choice_of, decision_of
from consent_contracts.decisions import Decision
from consent_privacy.keyring import Keyring, key_order

# A page takes a small part of each table, in which the planner, who has no idea how few rows follow, would read all.
_PLAN = text(
    "SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),"
    " set_config('enable_seqscan', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)"
)
_DECISIONS = f"""
    SELECT k.tenant, k.address_key, k.address_id, a.erased_at, d.decision_id::text AS decision_id, s.subject_ref,
           d.purpose, d.status, d.effective_at, d.recorded_at, d.expires_at, {MARK}, d.spreads, d.source_system
    FROM k
    JOIN addresses a ON a.address_id = k.address_id
    LEFT JOIN decision_addresses r ON r.address_id = k.address_id
    LEFT JOIN decisions d ON d.decision_id = r.decision_id
    LEFT JOIN subjects s ON s.subject_id = d.subject_id
    ORDER BY k.address_id, k.address_key
"""  # noqa: S608 - constants
_PAGE = text(f"""
WITH k AS MATERIALIZED (
    SELECT tenant, address_key, address_id FROM address_keys
    WHERE (address_id, address_key) > (:address_id, :address_key) AND channel = :channel
      AND (CAST(:only AS text) IS NULL OR tenant = :only)
      AND ascii(split_part(address_key, '.', 2)) % :slices = :slice
    ORDER BY address_id, address_key LIMIT :size
)
{_DECISIONS}
""")  # noqa: S608 - constants
_OF_KEYS = text(f"""
WITH k AS MATERIALIZED (
    SELECT tenant, address_key, address_id
    FROM unnest(CAST(:tenants AS text[]), CAST(:keys AS text[])) AS wanted (tenant, address_key)
    JOIN address_keys USING (tenant, address_key) WHERE channel = :channel
)
{_DECISIONS}
""")  # noqa: S608 - constants


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """A part of a channel's addresses, small enough to be held in memory: those whose key has, after the key id, a
    first character with this remainder. (The rest of a key is a keyed hash, so the parts are of about one size.)"""

    channel: str
    number: int = 0
    of: int = 1

    def holds(self, address_key: bytes) -> bool:
        """As `_PAGE` selects."""
        if self.of == 1:
            return True
        hashed = address_key.partition(b".")[2]
        return (hashed[0] if hashed else 0) % self.of == self.number


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerAddress:
    """One address under one key, with the rows of all decisions that have reached it, in no order; superseded ones
    too."""

    tenant: str
    address_key: str
    address_id: int
    erased_at: int | None
    rows: tuple[Row[Any], ...]

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(map(decision_of, self.rows))

    @property
    def choices(self) -> tuple[PublishableDecision, ...]:
        return tuple(map(choice_of, self.rows))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """Everything up to this key was read."""

    address_id: int = -1
    address_key: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedKeys:
    """Ids of the live hash keys of each tenant, and those of them under which not everything was published yet."""

    live: Mapping[str, frozenset[str]]
    incomplete: Mapping[str, frozenset[str]]

    def is_live(self, tenant: str, address_key: str) -> bool:
        """All keys of a tenant that the keyring lacks are, as in a repair of holes."""
        ids = self.live.get(tenant)
        return ids is None or address_key.partition(".")[0] in ids

    def is_incomplete(self, tenant: str, address_key: str) -> bool:
        return address_key.partition(".")[0] in self.incomplete.get(tenant, ())


def compared_keys(connection: Connection, keyring: Keyring) -> ComparedKeys:
    """Under the oldest live key everything was published when it was recorded, under a newer one only after a
    republish."""
    live = {tenant: frozenset(key.id for key in keys) for tenant, keys in keyring.hash_keys.items()}
    newer = {tenant: ids - {min(ids, key=key_order)} for tenant, ids in live.items() if ids}
    return ComparedKeys(
        live=live,
        incomplete={
            tenant: frozenset(incomplete(connection, keyring, tenant, ids)) for tenant, ids in newer.items() if ids
        },
    )


def page(
    connection: Connection, part: Slice, after: Cursor, *, tenant: str | None, size: int
) -> tuple[list[LedgerAddress], Cursor] | None:
    """The next `size` keys of a slice, of one tenant or of all, and where the page ends; None at the end."""
    connection.execute(_PLAN)
    rows = connection.execute(
        _PAGE,
        {
            "address_id": after.address_id,
            "channel": part.channel,
            "address_key": after.address_key,
            "only": tenant,
            "slices": part.of,
            "slice": part.number,
            "size": size,
        },
    ).all()
    if not rows:
        return None
    return list(_addresses(rows)), Cursor(address_id=rows[-1].address_id, address_key=rows[-1].address_key)


def of_keys(
    connection: Connection, channel: str, keys: Collection[tuple[str, str]]
) -> dict[tuple[str, str], LedgerAddress]:
    """The addresses with these (tenant, address key); those that there are not are missing."""
    # A list may hold a text that PostgreSQL cannot.
    keys = [each for each in keys if "\0" not in each[0] + each[1]]
    if not keys:
        return {}
    tenants, address_keys = zip(*keys, strict=True)
    connection.execute(_PLAN)
    rows = connection.execute(
        _OF_KEYS, {"channel": channel, "tenants": list(tenants), "keys": list(address_keys)}
    ).all()
    return {(each.tenant, each.address_key): each for each in _addresses(rows)}


def _addresses(rows: Iterable[Row[Any]]) -> Iterator[LedgerAddress]:
    """Rows of one address follow one another; an address without decisions has one, without a decision."""
    for (tenant, address_key, address_id, erased_at), of_address in groupby(rows, itemgetter(0, 1, 2, 3)):
        held = tuple(row for row in of_address if row.decision_id is not None)
        yield LedgerAddress(
            tenant=tenant, address_key=address_key, address_id=address_id, erased_at=erased_at, rows=held
        )
