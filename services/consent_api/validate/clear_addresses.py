"""Addresses in texts that are kept in the clear (R13)."""

from __future__ import annotations

import re

from consent_runtime import phones

_EMAIL = re.compile(r"[^\s@<>:;,]+@[^\s@<>:;,]+\.[^\s@<>:;,]+")


def shows_address(text: str, region: str) -> bool:
    """Whether an e-mail address stands in ``text``, or a phone number as only phone numbers are written."""
    return bool(_EMAIL.search(text)) or phones.stands_in(text, region)


def same_number(text: str, address: str | None) -> bool:
    """Whether the digits of ``text`` hold the national part of ``address``, a canonical phone number."""
    return address is not None and address.startswith("+") and phones.last_digits(address) in phones.digits(text)
