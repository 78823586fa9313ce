"""The ids of pages about a person: sealed for one session. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring

PAGE_MICROS = 15 * 60 * 1_000_000
"""How long the id of a page about a person leads to it."""
_BLOCK = 64
"""Ids are padded to a multiple of so many bytes: an address is not known by its length."""
_LONGEST_ID = 2_048


class Subject(msgspec.Struct, frozen=True, array_like=True):
    """Whom a page is about: a reference, or an address on the channels where it is one."""

    subject_ref: str | None = None
    address: str | None = None
    channels: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Subject(...)"


class _Content(msgspec.Struct, array_like=True):
    until: int
    subject: Subject


_DECODER = msgspec.msgpack.Decoder(_Content)


def seal(keyring: Keyring, token: str, subject: Subject, *, now: int) -> str:
    """The id of a page, for this session alone."""
    content = msgspec.msgpack.encode(_Content(until=now + PAGE_MICROS, subject=subject)) + b"\x80"
    sealed = keyring.seal_record(content + bytes(-len(content) % _BLOCK), _bound(token))
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def unseal(keyring: Keyring, token: str, page_id: str, *, now: int) -> Subject | None:
    """None for what is no id of this session's, or no longer."""
    if len(page_id) > _LONGEST_ID:
        return None
    try:
        sealed = base64.b64decode(page_id + "=" * (-len(page_id) % 4), altchars=b"-_", validate=True)
        content = _DECODER.decode(keyring.open_record(sealed, _bound(token)).rstrip(b"\0")[:-1])
    except (binascii.Error, ValueError, DecryptionFailedError, msgspec.DecodeError):
        return None
    return content.subject if now < content.until else None


def _bound(token: str) -> bytes:
    return b"console page " + hashlib.sha256(token.encode()).digest()
