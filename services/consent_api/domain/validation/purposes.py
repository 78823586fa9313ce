"""Purposes: slugs of the tenant's taxonomy, which an installation can declare."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from consent_api.domain.validation.texts import required
from consent_api.errors import FieldViolation, InvalidValueError
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN
from consent_contracts.records import PURPOSE

_DIALLED = re.compile(r"_*(?:\d[_-]*){8,15}", re.ASCII)
_LISTED = 20
_LONGEST_COMPARED = 64


class UnknownPurpose(Enum):
    """What a refusal for a purpose that is not declared does."""

    REFUSE = "refuse"
    EVERYTHING = "everything"
    """It is recorded as a refusal of every purpose on its channel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Purposes:
    """The purposes of a tenant. ``declared``: None where every slug is one. ``used``: where it is not known what the
    tenant declares, those that its decisions name so far. Then refusals alone are taken: of another purpose, which may
    be misspelt, as one of everything."""

    declared: frozenset[str] | None = None
    unknown: UnknownPurpose = UnknownPurpose.REFUSE
    used: frozenset[str] | None = None

    @property
    def known(self) -> bool:
        return self.used is None

    def read(self, value: object, status: str | None, spare: list[FieldViolation]) -> str:
        """The purpose to record. InvalidValueError when there is none; a fault in ``spare`` when it is not the one that
        was sent."""
        purpose = required(value, "purpose")
        if status == GIVEN and not self.known:
            cure = "ask the operator to mend the purposes of this tenant, then send it again; refusals are taken"
            raise InvalidValueError("purposes_not_known", cure)
        if purpose == EVERY_PURPOSE:
            if status == GIVEN:
                raise InvalidValueError("not_specific", "name the purpose: consent is specific, * is for refusals")
            return purpose
        if self.used is not None:
            if purpose in self.used:
                return purpose
            cure = "ask the operator to mend the purposes of this tenant: none of this name was used before"
            spare.append(FieldViolation(pointer="/purpose", code="purposes_not_known", cure=cure))
            return EVERY_PURPOSE
        if self.declared is None:
            return _slug(purpose)
        if purpose in self.declared:
            return purpose
        unknown = InvalidValueError("unknown_purpose", _nearest(purpose, self.declared))
        if self.unknown is UnknownPurpose.EVERYTHING and status is not None and status != GIVEN:
            spare.append(FieldViolation(pointer="/purpose", code=unknown.code, cure=unknown.cure))
            return EVERY_PURPOSE
        raise unknown


def _slug(purpose: str) -> str:
    if not PURPOSE.fullmatch(purpose):
        raise InvalidValueError("no_slug", "send a slug of a-z, 0-9, _ and -, at most 64 characters, or *")
    if _DIALLED.fullmatch(purpose):
        raise InvalidValueError("an_address", "name the purpose: this could be a phone number, and purposes are kept")
    return purpose


@lru_cache(maxsize=1024)
def _nearest(purpose: str, declared: frozenset[str]) -> str:
    """The cure for a purpose that is not declared: the nearest names, or all. An import repeats the same mistakes."""
    short = len(purpose) <= _LONGEST_COMPARED
    near = difflib.get_close_matches(purpose.strip().casefold(), sorted(declared), n=3) if short else []
    names = near or sorted(declared)[:_LISTED]
    return f"send a declared purpose: {', '.join(names)}{', ...' if not near and len(declared) > _LISTED else ''}"
