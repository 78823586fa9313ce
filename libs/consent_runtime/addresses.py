"""One spelling for each address: E.164 for phones (R10), lower-case with an ASCII domain for e-mail (R11).

`canonical` is idempotent. What it cannot read it refuses; it never guesses a letter into a digit."""

import re
import unicodedata
from collections.abc import Callable

import idna

from consent_runtime import phones

_MARKS = dict.fromkeys(
    [0x00AD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
"""Invisible characters that come along when an address is copied: direction marks, zero-width spaces, soft
hyphens. The zero-width joiners stay: in a domain they distinguish names, and IDNA has rules for them."""

_PLAIN_EMAIL = re.compile(
    r"(?=.{3,254}\Z)[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@"
    r"(?:(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?!..--)[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?",
    re.ASCII,
)
_NO_LOCAL_PART = re.compile(r"[\s()<>\[\]:;,\\\"@]")
_LONGEST = 254  # RFC 5321 through RFC 3696 erratum 1690
_LONGEST_LOCAL_PART = 64


class InvalidAddress(ValueError):
    """`reason` is a code, `cure` says what to send instead. Neither holds the address, nor does the text."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(f"{reason}: {cure}")
        self.reason = reason
        self.cure = cure


def canonical(channel: str, address: str, *, default_region: str) -> str:
    """The one spelling of `address` on `channel`: e-mail on `email`, E.164 on `sms` and `voice`, the trimmed
    NFC text on any other. National numbers are read in `default_region`. Raises InvalidAddress."""
    if channel == "email":
        if address.isascii():
            lowered = address.strip().lower()
            if _PLAIN_EMAIL.fullmatch(lowered):
                return lowered
        return _settled(_email, address)
    if channel in ("sms", "voice"):
        plain = phones.plain(address, default_region)
        return plain if plain is not None else _settled(lambda text: _phone(text, default_region), address)
    return _settled(_text, address)


def _settled(spell: Callable[[str], str], address: str) -> str:
    """Spell until nothing changes, so that the canonical form is its own canonical form by construction."""
    before = spell(address)
    for _ in range(4):
        after = spell(before)
        if after == before:
            return after
        before = after
    raise InvalidAddress("invalid_characters", "send the address without special forms of letters")


def _phone(address: str, default_region: str) -> str:
    digits = _readable(address)
    try:
        return phones.e164(digits, default_region)
    except phones.NotANumber as error:
        raise InvalidAddress(error.reason, error.cure) from None


def _email(address: str) -> str:
    text = _readable(address).replace("＠", "@")
    local, at, domain = text.rpartition("@")
    if not at or not domain:
        raise InvalidAddress("no_domain", "send the whole e-mail address, as in name@example.com")
    local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())
    if not local:
        raise InvalidAddress("no_local_part", "send the whole e-mail address, as in name@example.com")
    if _NO_LOCAL_PART.search(local):
        raise InvalidAddress("invalid_local_part", "send the bare address, without name, quotes or spaces")
    if len(local.encode()) > _LONGEST_LOCAL_PART:
        raise InvalidAddress("too_long", "send an e-mail address of at most 64 bytes before the @")
    spelled = f"{local}@{_domain(domain)}"
    if len(spelled.encode()) > _LONGEST:
        raise InvalidAddress("too_long", "send an e-mail address of at most 254 bytes")
    return spelled


def _domain(domain: str) -> str:
    """IDNA 2008 with the mapping of UTS 46, non-transitional: ß stays itself and is never taken for ss."""
    if len(domain) > _LONGEST:
        raise InvalidAddress("too_long", "send an e-mail address of at most 254 bytes")
    try:
        ascii_domain = idna.encode(domain, uts46=True, transitional=False, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise InvalidAddress("invalid_domain", "send an e-mail address whose domain can exist") from None
    ascii_domain = ascii_domain.rstrip(".").lower()
    if "." not in ascii_domain or ascii_domain.rpartition(".")[2].isdigit():
        raise InvalidAddress("invalid_domain", "send an e-mail address whose domain can exist, such as example.com")
    return ascii_domain


def _text(address: str) -> str:
    text = unicodedata.normalize("NFC", _readable(address))
    if len(text) > _LONGEST:
        raise InvalidAddress("too_long", "send an address of at most 254 characters")
    return text


def _readable(address: str) -> str:
    """Trimmed and without invisible marks; refuses what no address holds (controls, halves of surrogates)."""
    if len(address) > 4 * _LONGEST:
        raise InvalidAddress("too_long", "send one address")
    text = address.translate(_MARKS).strip()
    if not text:
        raise InvalidAddress("empty", "send an address")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise InvalidAddress("invalid_characters", "send an address without control characters")
    return text
