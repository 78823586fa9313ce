"""Whether the services' role may do what it needs in the database, and nothing else. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from consent_service.doctor.findings import Finding, Result, all_ok

NAME = "database role"
_MIGRATE = "run: consent-relay migrate"
_GRANT = re.compile(r"([A-Z]+)(?: \(([^)]*)\))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleFacts:
    """The role of CONSENT_RELAY_API_DATABASE. ``attributes``: the powers over the whole server that it has, as
    PostgreSQL names them (SUPERUSER, CREATEROLE, ...). ``member_of``: roles whose rights it has too. ``owns``: tables
    and functions that are its own. ``creates``: it may create objects beside ours. ``tables``: by table, what it may do
    there, `UPDATE (column)` where it may update that column alone. ``functions``: those of ours that it may call."""

    name: str
    attributes: Collection[str]
    member_of: Collection[str]
    owns: Collection[str]
    creates: bool
    tables: Mapping[str, frozenset[str]]
    functions: Collection[str]


def parse_grants(grants: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """`SELECT, UPDATE (a, b)` by table as the privileges SELECT, UPDATE (a), UPDATE (b)."""
    return {table: frozenset(_privileges(text)) for table, text in grants.items()}


def judge_role(role: RoleFacts, grants: Mapping[str, frozenset[str]], functions: Collection[str]) -> Sequence[Finding]:
    """``grants`` and ``functions``: what it needs, as of `parse_grants` and by signature."""
    found = [*_powers(role)]
    missing = {table: needed - role.tables.get(table, frozenset()) for table, needed in grants.items()}
    if lacking := _listed(missing):
        found.append(_fault(f"{role.name} may not {lacking}", _MIGRATE))
    if absent := sorted(set(functions) - set(role.functions)):
        found.append(_fault(f"{role.name} may not call {', '.join(absent)}", _MIGRATE))
    excess = {table: held - grants.get(table, frozenset()) for table, held in role.tables.items()}
    if not role.attributes and (beyond := _listed(excess)):
        cure = f"{_MIGRATE}; if it stays, revoke it from PUBLIC and from the roles whose member {role.name} is"
        found.append(_fault(f"{role.name} may {beyond}, which it does not need: it could change the record", cure))
    return all_ok(NAME, found, f"{role.name} may add and read decisions, and change or delete none")


def _powers(role: RoleFacts) -> list[Finding]:
    found = []
    if role.attributes:
        cure = "; ".join(f"ALTER ROLE {role.name} NO{each}" for each in sorted(role.attributes))
        found.append(_fault(f"{role.name} is {', '.join(sorted(role.attributes))}: it could change the record", cure))
    if role.member_of:
        names = ", ".join(sorted(role.member_of))
        found.append(_fault(f"{role.name} has the rights of {names}", f"REVOKE {names} FROM {role.name}"))
    if role.owns:
        names = ", ".join(sorted(role.owns)[:3])
        cure = "give them to the owner of the database: REASSIGN OWNED; then run: consent-relay migrate"
        found.append(_fault(f"{role.name} owns {len(role.owns)} objects ({names}): it could change the record", cure))
    if role.creates and not role.attributes:
        cure = "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        text = f"{role.name} may create tables and functions beside ours"
        found.append(Finding(name=NAME, result=Result.WARNING, found=text, cure=cure))
    return found


def _fault(found: str, cure: str) -> Finding:
    return Finding(name=NAME, result=Result.FAULT, found=found, cure=cure)


def _listed(privileges: Mapping[str, Collection[str]]) -> str:
    """The first three tables of them, in words; empty where there are none."""
    each = [f"{', '.join(sorted(names))} {table}" for table, names in sorted(privileges.items()) if names]
    more = f" and {len(each) - 3} tables more" if len(each) > 3 else ""
    return "; ".join(each[:3]) + more


def _privileges(text: str) -> list[str]:
    found = []
    for name, columns in _GRANT.findall(text):
        found += [f"{name} ({column.strip()})" for column in columns.split(",")] if columns else [name]
    return found
