"""Tokens of links: who, and for what, sealed. Pure.

A token is the base64url, without padding, of a mark of its key and of the content under AES-256-SIV (RFC 5297): not
readable, not to be changed, and the same each time for the same content. It holds the address itself, sealed, because
it has to work for years: after a rotation of the hash keys, and for an address that the ledger does not know.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from consent_api.errors import InvalidTokenError, NoLinkKeysError
from consent_privacy.keyring import Key, Keyring

LONGEST_TOKEN = 2_048
_TOKEN = re.compile(r"[A-Za-z0-9_-]{40,2048}", re.ASCII)
_MARK_BYTES = 6
_BLOCK = 32
"""Contents are padded to a multiple of so many bytes: an address is not known by its length."""
_LONGEST_FORM = 65_536
_TAG_BYTES = 16


class LinkKind(StrEnum):
    ONE_CLICK = "one-click"
    PREFERENCES = "preferences"


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Who a link is for: an address on a channel, a subject, or both. ``purpose``: what one click withdraws, ``*`` for
    every one; None for preferences."""

    tenant: str
    kind: LinkKind
    channel: str | None = None
    address: str | None = field(default=None, repr=False)
    subject_ref: str | None = field(default=None, repr=False)
    purpose: str | None = None
    until: int | None = None
    """When the link ceases to work, in micros; None: it works for years."""


class _Content(msgspec.Struct, array_like=True):
    kind: LinkKind
    channel: str | None
    address: str | None
    subject_ref: str | None
    purpose: str | None
    until: int | None = None


_DECODER = msgspec.msgpack.Decoder(_Content)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sealer:
    tenant: str
    mark: bytes
    cipher: AESSIV


class _Sealers:
    """Those of one keyring. Immutable."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.primary: dict[str, _Sealer] = {}
        self.by_mark: dict[bytes, _Sealer] = {}
        for tenant, keys in keyring.link_keys.items():
            self._add(tenant, keys)

    def _add(self, tenant: str, keys: Sequence[Key]) -> None:
        for key in keys:
            sealer = _sealer(tenant, key)
            self.by_mark[sealer.mark] = sealer
            if key.primary:
                self.primary[tenant] = sealer


class Links:
    """Makes links and opens them, with the link keys of the keyring of the moment. Thread-safe."""

    def __init__(self, keyring: Callable[[], Keyring]) -> None:
        self._keyring = keyring
        self._made = _Sealers(keyring())
        self._stranger = _sealer("", Key(id="l0", secret=hashlib.sha256(b"no key of ours").digest()))

    def _sealers(self) -> _Sealers:
        made, keyring = self._made, self._keyring()
        if made.keyring is not keyring:
            self._made = made = _Sealers(keyring)
        return made

    @property
    def tenants(self) -> frozenset[str]:
        """Those that have link keys."""
        return frozenset(self._sealers().primary)

    def token(self, link: Link) -> str:
        """The token of a link. NoLinkKeysError."""
        sealer = self._sealers().primary.get(link.tenant)
        if sealer is None:
            raise NoLinkKeysError
        content = msgspec.msgpack.encode(
            _Content(
                kind=link.kind,
                channel=link.channel,
                address=link.address,
                subject_ref=link.subject_ref,
                purpose=link.purpose,
                until=link.until,
            )
        )
        return _text(sealer.mark + sealer.cipher.encrypt(_padded(content), [b"link"]))

    def open(self, token: str) -> Link:
        """Who and what a token is for. InvalidTokenError, after the same work for every text that looks like one."""
        if not _TOKEN.fullmatch(token):
            token = "A" * 120
        sealer, content = self._opened(token, b"link")
        try:
            found = _DECODER.decode(content)
        except msgspec.DecodeError:  # Sealed by a later version.
            raise InvalidTokenError from None
        return Link(
            tenant=sealer.tenant,
            kind=found.kind,
            channel=found.channel,
            address=found.address,
            subject_ref=found.subject_ref,
            purpose=found.purpose,
            until=found.until,
        )

    def seal_form(self, token: str, shown: bytes) -> str:
        """What a form carries from the page to its submission, bound to the page's link."""
        return self.seal(self.open(token).tenant, b"form", shown, token.encode())

    def open_form(self, token: str, sealed: str) -> bytes:
        """InvalidTokenError for what was not sealed for this link."""
        return self.open_sealed(self.open(token).tenant, b"form", sealed, token.encode())

    def seal(self, tenant: str, use: bytes, content: bytes, *bound: bytes) -> str:
        """What a page sends along and gets back, for one ``use`` and bound to what only it knows."""
        sealer = self._sealers().primary[tenant]
        return _text(sealer.mark + sealer.cipher.encrypt(_padded(content), [use, *bound]))

    def open_sealed(self, tenant: str, use: bytes, sealed: str, *bound: bytes) -> bytes:
        """InvalidTokenError for what was not sealed so."""
        if len(sealed) > _LONGEST_FORM:
            raise InvalidTokenError
        sealer, content = self._opened(sealed, use, *bound)
        if sealer.tenant != tenant:
            raise InvalidTokenError
        return content

    def _opened(self, text: str, *bound: bytes) -> tuple[_Sealer, bytes]:
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = bytes(_MARK_BYTES + _TAG_BYTES + _BLOCK)
        # An unknown mark is tried with a key of no tenant: it takes as long as a forgery under a known one.
        sealer = self._sealers().by_mark.get(raw[:_MARK_BYTES], self._stranger)
        try:
            content = sealer.cipher.decrypt(raw[_MARK_BYTES:], list(bound))
        except (InvalidTag, ValueError):
            raise InvalidTokenError from None
        # base64 ends in bits that mean nothing: a link has one spelling.
        if sealer is self._stranger or _text(raw) != text:
            raise InvalidTokenError
        return sealer, _unpadded(content)


def _sealer(tenant: str, key: Key) -> _Sealer:
    mark, content = _derived(tenant, key, "mark"), _derived(tenant, key, "content")
    return _Sealer(tenant=tenant, mark=mark[:_MARK_BYTES], cipher=AESSIV(content))


def _derived(tenant: str, key: Key, use: str) -> bytes:
    """With the tenant in it: two that were given one secret open no links of one another."""
    return hashlib.sha512(f"consent-relay link {use} {tenant}\0".encode() + key.secret).digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _padded(content: bytes) -> bytes:
    """ISO/IEC 7816-4: a marker, then zeros."""
    content += b"\x80"
    return content + bytes(-len(content) % _BLOCK)


def _unpadded(padded: bytes) -> bytes:
    return padded.rstrip(b"\0")[:-1]
