"""Addresses in texts that are kept in the clear (R13), whatever they are written as.

`as_read` undoes what a system in between does to a text, and every rule looks at its result alone. Linear in the text:
all of it comes from outside."""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
import urllib.parse
from functools import lru_cache

from consent_privacy import phones

_SIGN = re.compile(r"[^A-Za-z0-9 .,:;/+'-]", re.ASCII)
"""Without one a text has no escapes and no @ in words. Most texts have none, and each submission has some ten."""
_ESCAPE = re.compile(r"(?:\\u00|\\x|%u00|_x00)([0-7][0-9a-f])_?", re.IGNORECASE | re.ASCII)
"""`%40` and `&#64;` as programs, JavaScript and spreadsheets write them: \\u0040, %u0040, _x0040_."""
_AT_IN_WORDS = re.compile(
    r"[(\[{<] ?(?:at|arobase|chez|@) ?[)\]}>]|(?<=[a-z0-9])=40(?=[a-z0-9-]+\.[a-z])", re.IGNORECASE | re.ASCII
)
"""In mail, =40 is one too; id=40 is none."""
_DOT_IN_WORDS = re.compile(r" ?[(\[{<] ?(?:dot|point|\.) ?[)\]}>] ?", re.IGNORECASE | re.ASCII)
_IDEOGRAPHIC_FULL_STOP = "\u3002"
"""A dot in addresses (RFC 3490), and not by NFKC, which makes plain ones of all others."""
_IN_NAME = r"[^\s<>:;,()\[\]{}\"@]"
_EMAIL = re.compile(rf"{_IN_NAME}@+{_IN_NAME}*(?<![.@])\.[^\W\d]")
"""The end of a name, and a domain with a dot before a letter. Begun at each @, it reads up to the next one."""
_MAILTO = re.compile(r"(?<![a-z])mailto:", re.IGNORECASE | re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}", re.ASCII)
_HEXADECIMAL = re.compile(r"(?:[0-9a-f]{2}){6,}", re.IGNORECASE | re.ASCII)
_SIGNIFICANT_LETTERS = 8
"""Fewer letters and digits of an address may be in a text by chance, without the signs between them."""
_LAYERS = 8
"""Encodings of encodings that are undone: a proxy encodes again what a form has encoded."""


def shows_address(text: str, region: str) -> bool:
    """Whether ``text`` contains an e-mail address, or a phone number as only phone numbers are written."""
    return any(_EMAIL.search(read) or phones.contains_phone_number(read, region) for read in _readings(text))


def holds_at_sign(text: str) -> bool:
    """Whether ``text`` has an @ or what begins an e-mail address in a link, however it is escaped.

    Read as base64 or hexadecimal, some in a thousand ids have an @ by chance."""
    read = as_read(text)
    return "@" in read or _MAILTO.search(read) is not None


def same_address(text: str, address: str | None) -> bool:
    """Whether ``text`` holds ``address``, which is canonical, whatever is around and between its characters.

    Of a phone number the national part."""
    if address is None:
        return False
    if address.startswith("+"):
        return any(phones.last_digits(address) in phones.digits(read) for read in _readings(text))
    local, _, domain = map(_letters, address.rpartition("@"))
    wanted = [each for each in (local + domain, f"{local}at{domain}") if len(each) >= _SIGNIFICANT_LETTERS]
    return any(address in read.lower() or any(each in _letters(read) for each in wanted) for read in _readings(text))


def as_read(text: str) -> str:
    """``text`` with its escapes undone, compatibility characters as the plain ones, and nothing that shows nothing."""
    if _SIGN.search(text) is None:
        return " ".join(text.split())
    for _ in range(_LAYERS):
        before = text
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text).replace(_IDEOGRAPHIC_FULL_STOP, ".")
            text = "".join(filter(_shows, text))
        text = urllib.parse.unquote(html.unescape(_ESCAPE.sub(_unescaped, text)))
        if text == before:
            break
    text = _DOT_IN_WORDS.sub(".", _AT_IN_WORDS.sub("@", " ".join(text.split())))
    return text.replace(" @", "@").replace("@ ", "@")


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


@lru_cache(maxsize=4_096)
def _shows(character: str) -> bool:
    return unicodedata.category(character) not in ("Cf", "Mn", "Me")


def _readings(text: str) -> list[str]:
    """``text`` as it is read, and decoded, if all of it is base64 or hexadecimal."""
    read = as_read(text)
    decoded = [
        decode(read)
        for pattern, decode in ((_BASE64, _from_base64), (_HEXADECIMAL, bytes.fromhex))
        if pattern.fullmatch(read)
    ]
    return [read, *(as_read(each.decode()) for each in decoded if each.isascii() and each.decode().isprintable())]


def _from_base64(text: str) -> bytes:
    """Either alphabet, with or without padding; nothing where it is neither."""
    body = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4))
    except binascii.Error:
        return b""


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
