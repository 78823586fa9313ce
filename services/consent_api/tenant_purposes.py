"""The purposes that an installation declares: a setting, and a file where tenants have different ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from consent_api.domain.validation import Purposes, UnknownPurpose
from consent_api.yaml_file import read_yaml
from consent_contracts.records import PURPOSE
from consent_service.wrong_entries import WrongEntry, refuse

SETTING = "CONSENT_RELAY_TENANT_PURPOSES"
NOT_KNOWN = Purposes(used=frozenset())
"""Of a tenant whose entry is wrong; `ledger.purposes.with_used` knows those that it used."""


class _Tenant(BaseModel):
    """One tenant in the file. What it leaves out is as for the whole installation."""

    model_config = ConfigDict(extra="forbid")

    purposes: list[str] | None = None
    unknown_purpose: UnknownPurpose | None = None


_FILE = TypeAdapter(dict[str, object])
_TENANT = TypeAdapter(_Tenant)


def declared(names: Iterable[str]) -> frozenset[str]:
    """Purposes that are slugs. ValueError for others: no submission could name them."""
    found = frozenset(names)
    if not found or not all(map(PURPOSE.fullmatch, found)):
        raise ValueError("requires slugs of a-z, 0-9, _ and -, such as newsletter,survey")
    return found


def read_tenant_purposes(
    path: Path, everywhere: Purposes, *, on_wrong: Callable[[WrongEntry], None] = refuse
) -> dict[str, Purposes]:
    """The purposes by tenant. Raises ValueError with what is wrong with the file. A wrong entry is given to
    ``on_wrong``; where that returns, the tenant's purposes are NOT_KNOWN."""
    content = read_yaml(path)
    try:
        tenants = _FILE.validate_python(content)
    except ValidationError:
        raise ValueError("names a file that is wrong at its beginning; see docs/submitting.md") from None
    found: dict[str, Purposes] = {}
    for tenant, given in tenants.items():
        try:
            found[tenant] = _purposes(tenant, given, everywhere)
        except ValueError as error:
            on_wrong(WrongEntry(setting=SETTING, entry=tenant, why=str(error)))
            found[tenant] = NOT_KNOWN
    return found


def _purposes(tenant: str, given: object, everywhere: Purposes) -> Purposes:
    try:
        entry = _TENANT.validate_python(given)
    except ValidationError as error:
        at = ".".join(map(str, [tenant, *error.errors(include_url=False, include_input=False)[0]["loc"]]))
        raise ValueError(f"names a file that is wrong at {at}; see docs/submitting.md") from None
    try:
        names = declared(entry.purposes) if entry.purposes is not None else everywhere.declared
    except ValueError as error:
        raise ValueError(f"names a file that is wrong at {tenant}.purposes: it {error}") from None
    return Purposes(declared=names, unknown=entry.unknown_purpose or everywhere.unknown)
