"""What the ledger holds of registers: which loads have ended, and which addresses each load listed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from consent_api.registers.age import RegisterAge
from consent_api.registers.declared import Register

_ADD_LOAD = text("""
INSERT INTO register_loads (tenant, register, channels, purposes, region, as_of, loaded_at, loaded_by, sha256,
    addresses, recorded, invalid)
VALUES (:tenant, :register, :channels, :purposes, :region, :as_of, :loaded_at, :loaded_by, :sha256,
    :addresses, :recorded, :invalid)
""")
_LAST = text("""
SELECT DISTINCT ON (tenant, register) tenant, register, channels, purposes, region, as_of
FROM register_loads ORDER BY tenant, register, loaded_at DESC
""")
_LISTED = text("""
SELECT address_id, purpose, as_of FROM register_entries
WHERE tenant = :tenant AND register = :register AND address_id = ANY(CAST(:ids AS bigint[]))
""")
# The order keeps two loads from deadlocking.
_LIST = text("""
INSERT INTO register_entries (tenant, register, address_id, purpose, as_of)
SELECT :tenant, :register, address_id, purpose, :as_of
FROM unnest(CAST(:ids AS bigint[]), CAST(:purposes AS text[])) AS new (address_id, purpose)
ORDER BY address_id, purpose
ON CONFLICT (tenant, register, address_id, purpose)
DO UPDATE SET as_of = excluded.as_of
""")

Slot = tuple[int, str]
"""(address_id, purpose)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One that has ended, of the register as it was declared then. ``addresses``: lines that hold one, ``recorded``:
    those refused by it and not before, ``invalid``: lines that hold none. Times in micros."""

    register: Register
    as_of: int
    loaded_at: int
    loaded_by: str
    sha256: str
    addresses: int
    recorded: int
    invalid: int


def add_load(connection: Connection, load: Load) -> None:
    register = load.register
    declared = {
        "tenant": register.tenant,
        "register": register.name,
        "channels": list(register.channels),
        "purposes": list(register.purposes),
        "region": register.region,
    }
    connection.execute(_ADD_LOAD, asdict(load) | declared)


def ages(connection: Connection, registers: Iterable[Register]) -> list[RegisterAge]:
    """Of each, in their order."""
    last = {(row.tenant, row.register): row for row in connection.execute(_LAST)}
    return [_age(each, last.get((each.tenant, each.name))) for each in registers]


def _age(register: Register, last: Row[Any] | None) -> RegisterAge:
    if last is None:
        return RegisterAge(register=register, as_of=None)
    covered = (
        set(register.channels) <= set(last.channels)
        and set(register.purposes) <= set(last.purposes)
        and register.region == last.region
    )
    return RegisterAge(register=register, as_of=last.as_of, covered=covered)


def listed(connection: Connection, register: Register, address_ids: Collection[int]) -> dict[Slot, int]:
    """When (``as_of``) each of these addresses was last in the register, by purpose."""
    if not address_ids:
        return {}
    asked = {"tenant": register.tenant, "register": register.name, "ids": sorted(address_ids)}
    return {(row.address_id, row.purpose): row.as_of for row in connection.execute(_LISTED, asked)}


def add_listed(connection: Connection, register: Register, slots: Collection[Slot], *, as_of: int) -> None:
    if not slots:
        return
    ids, purposes = zip(*slots, strict=True)
    connection.execute(
        _LIST,
        {
            "tenant": register.tenant,
            "register": register.name,
            "as_of": as_of,
            "ids": list(ids),
            "purposes": list(purposes),
        },
    )
