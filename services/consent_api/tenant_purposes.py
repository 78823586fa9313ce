"""The purposes that an installation declares: a setting, and a file where tenants have different ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from consent_api.domain.validation import Purposes, UnknownPurpose
from consent_api.yaml_file import read_yaml
from consent_contracts.records import PURPOSE


class _Tenant(BaseModel):
    """One tenant in the file. What it leaves out is as for the whole installation."""

    model_config = ConfigDict(extra="forbid")

    purposes: list[str] | None = None
    unknown_purpose: UnknownPurpose | None = None


_FILE = TypeAdapter(dict[str, _Tenant])


def declared(names: Iterable[str]) -> frozenset[str]:
    """Purposes that are slugs. ValueError for others: no submission could name them."""
    found = frozenset(names)
    if not found or not all(map(PURPOSE.fullmatch, found)):
        raise ValueError("requires slugs of a-z, 0-9, _ and -, such as newsletter,survey")
    return found


def read_tenant_purposes(path: Path, everywhere: Purposes) -> dict[str, Purposes]:
    """The purposes by tenant. Raises ValueError with what is wrong with the file."""
    content = read_yaml(path)
    try:
        tenants = _FILE.validate_python(content)
    except ValidationError as error:
        at = ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"]))
        raise ValueError(f"names a file that is wrong at {at or 'its beginning'}; see docs/submitting.md") from None
    found: dict[str, Purposes] = {}
    for tenant, given in tenants.items():
        try:
            names = declared(given.purposes) if given.purposes is not None else everywhere.declared
        except ValueError as error:
            raise ValueError(f"names a file that is wrong at {tenant}.purposes: it {error}") from None
        found[tenant] = Purposes(declared=names, unknown=given.unknown_purpose or everywhere.unknown)
    return found
