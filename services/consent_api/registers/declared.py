"""The registers file: whose registers there are, what they are about, and how old each may become.

registers:
  - name: tps
    tenant: acme                       # may be left out where the keyring has one tenant
    channels: [voice]
    purposes: [promotions]             # marketing alone: a register says nothing about service messages
    region: FR                         # in which its national numbers are read; left out: the installation's
    max_age_days: 28
  - name: bloctel
    channels: [voice]
    purposes: [promotions]
    max_age_days: 30
    ended: 2026-08-10                  # none is issued after that day: who has loaded one that was in use then is done
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from datetime import date
from pathlib import Path
from typing import Annotated, Self

from phonenumbers import SUPPORTED_REGIONS
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from consent_api.domain.validation import ValidationRules
from consent_api.errors import MisconfiguredError
from consent_api.yaml_file import read_yaml
from consent_privacy.addresses import PHONE_CHANNELS
from consent_service.wrong_entries import WrongEntry

SETTING = "CONSENT_RELAY_REGISTERS_FILE"
_SLUG = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_LONGEST_AGE_DAYS = 366

Slug = Annotated[str, Field(pattern=_SLUG)]


class Register(BaseModel):
    """An entry. ``region``: ISO 3166, empty where the addresses are no phone numbers. ``max_age_days``: from the day on
    which it was issued. ``ended``: the last day on which it could be used; it becomes no older than it was then."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Slug
    tenant: str = ""
    channels: Annotated[tuple[str, ...], Field(min_length=1)]
    purposes: Annotated[tuple[Slug, ...], Field(min_length=1)]
    region: str = ""
    max_age_days: Annotated[int, Field(ge=1, le=_LONGEST_AGE_DAYS)]
    ended: date | None = None

    @field_validator("region")
    @classmethod
    def _known_region(cls, region: str) -> str:
        if region not in SUPPORTED_REGIONS:
            raise ValueError("is no region with telephone numbers; two capital letters are required, such as BE")
        return region

    @model_validator(mode="after")
    def _has_one_kind_of_address(self) -> Self:
        if len(self.channels) > 1 and not self.of_phones:
            raise ValueError("channels of one register have one kind of address: make another register of the others")
        if self.region and not self.of_phones:
            raise ValueError("region is for phone numbers: leave it out")
        return self

    @property
    def of_phones(self) -> bool:
        return PHONE_CHANNELS.issuperset(self.channels)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    registers: tuple[object, ...]


def read_registers(
    path: Path, *, tenants: Collection[str], rules: ValidationRules, on_wrong: Callable[[WrongEntry], None]
) -> dict[str, Register]:
    """The registers by name, without those that are wrong: each is given to ``on_wrong``. MisconfiguredError for a
    file of another shape."""
    try:
        entries = _File.model_validate(read_yaml(path)).registers
    except ValidationError as error:
        raise MisconfiguredError(f"{SETTING}: {_why(error, 'its beginning')}") from None
    except ValueError as error:
        raise MisconfiguredError(f"{SETTING}: {error}.") from None
    names = Counter(_name(entry, number) for number, entry in enumerate(entries))
    found: dict[str, Register] = {}
    for number, entry in enumerate(entries):
        name = _name(entry, number)
        try:
            register = _register(entry, name, tenants, rules)
            if names[name] > 1:
                raise ValueError(_wrong(name, "several registers have this name"))
        except ValueError as error:
            on_wrong(WrongEntry(setting=SETTING, entry=name, why=str(error)))
        else:
            found[register.name] = register
    return found


def _register(entry: object, at: str, tenants: Collection[str], rules: ValidationRules) -> Register:
    """ValueError with what is wrong where."""
    try:
        register = Register.model_validate(entry)
    except ValidationError as error:
        raise ValueError(_why(error, at)) from None
    tenant = register.tenant or (next(iter(tenants)) if len(tenants) == 1 else "")
    if tenant not in tenants:
        raise ValueError(_wrong(f"{at}.tenant", "name a tenant that the keyring has hash keys for"))
    if set(register.channels) - set(rules.channels):
        raise ValueError(_wrong(f"{at}.channels", f"each is one of {', '.join(rules.channels)}"))
    purposes = rules.purposes_of(tenant)
    if not purposes.known:
        raise ValueError(_wrong(f"{at}.purposes", "the purposes of this tenant are not known: mend those first"))
    if purposes.declared is not None and set(register.purposes) - purposes.declared:
        raise ValueError(_wrong(f"{at}.purposes", "name purposes that are declared: CONSENT_RELAY_PURPOSES"))
    region = register.region or (rules.default_region if register.of_phones else "")
    return register.model_copy(update={"tenant": tenant, "region": region})


def _name(entry: object, number: int) -> str:
    """As the entry has it, or its place."""
    name = entry.get("name") if isinstance(entry, dict) else None
    return name[:64] if isinstance(name, str) and name else f"registers.{number}"


def _why(error: ValidationError, at: str) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return _wrong(".".join(map(str, [at, *first["loc"]])), str(first["msg"]))


def _wrong(at: str, cure: str) -> str:
    return f"names a file that is wrong at {at}: {cure}. See docs/registers.md"
