"""Which column of a file has the addresses: as stated, or found by its name or its values. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from consent_privacy.addresses import PHONE_CHANNELS, canonical
from consent_privacy.errors import FileNotReadableError, InvalidAddressError

_PHONES = """
phone phonenumber phoneno mobile mobilephone mobilenumber cell cellphone cellnumber number sms msisdn gsm
tel telephone telmobile telephonemobile telephoneportable portable numero numerotelephone numerodetelephone numtel
mobil handy telefon telefonnummer rufnummer telefono movil celular
"""
_EMAILS = """
email mail emailaddress mailaddress courriel mel adresseemail adressemail adresseelectronique
emailadresse mailadresse correo correoelectronico
"""
_OTHERS = "address adresse"
_MANY = 0.8
"""Of the values of a column that is taken for one of addresses."""


def choose(
    stated: str | None, names: Sequence[str] | None, sample: Sequence[Sequence[str]], channel: str, region: str
) -> tuple[int, str]:
    """The index of the column, and how it was found. `names`: of the header; None where there is none. `sample`: the
    first records. Raises FileNotReadableError where it is not clear."""
    width = len(names) if names is not None else max(map(len, sample), default=0)
    if stated is not None:
        return _stated(stated, names, width), "as stated"
    if names is not None:
        by_name = [at for at, name in enumerate(names) if _normal(name) in _usual(channel)]
        if len(by_name) > 1:
            raise FileNotReadableError(f"several columns may be meant: {_listed(by_name, names)}: state --column")
        if by_name:
            [at] = by_name
            if sample and not _holds_addresses(at, sample, channel, region, share=0.5):
                raise FileNotReadableError(f"column {_shown(at, names)} has few {channel} addresses: state --column")
            return at, "by its name"
    by_values = [at for at in range(width) if _holds_addresses(at, sample, channel, region, share=_MANY)]
    if len(by_values) == 1:
        return by_values[0], "by its values"
    if by_values:
        raise FileNotReadableError(f"several columns may be meant: {_listed(by_values, names)}: state --column")
    raise FileNotReadableError(f"no column is plainly one of {channel} addresses: state --column")


def is_address(value: str, channel: str, region: str) -> bool:
    """Whether it can be read as one. On channels of opaque text everything can."""
    try:
        canonical(channel, value, default_region=region)
    except InvalidAddressError:
        return False
    return True


def _stated(stated: str, names: Sequence[str] | None, width: int) -> int:
    found = [at for at, name in enumerate(names or ()) if name.strip() == stated.strip()]
    if len(found) == 1:
        return found[0]
    if found:
        raise FileNotReadableError(f"{len(found)} columns are named {stated}: state its number, from 1")
    if stated.isdecimal() and 1 <= int(stated) <= width:
        return int(stated) - 1
    known = "it has no header" if names is None else f"its columns are {', '.join(names)}"
    raise FileNotReadableError(f"there is no column {stated}: {known}; a number counts from 1")


def _holds_addresses(at: int, sample: Sequence[Sequence[str]], channel: str, region: str, *, share: float) -> bool:
    values = [each[at] for each in sample if at < len(each) and each[at].strip()]
    valid = sum(is_address(value, channel, region) for value in values)
    return bool(values) and valid >= share * len(values)


def _usual(channel: str) -> frozenset[str]:
    of_kind = _PHONES if channel in PHONE_CHANNELS else _EMAILS if channel == "email" else _OTHERS
    return frozenset(of_kind.split()) | {_normal(channel)}


def _normal(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.casefold())
    return re.sub(r"[^a-z0-9]", "", plain)


def _listed(columns: Sequence[int], names: Sequence[str] | None) -> str:
    return ", ".join(_shown(at, names) for at in columns)


def _shown(at: int, names: Sequence[str] | None) -> str:
    return f"number {at + 1}" if names is None else f"{names[at]} ({at + 1})"
