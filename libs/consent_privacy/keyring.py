"""The secrets that keep addresses unreadable in stolen data: the tenants' hash keys and the seal keys (R12, R13), and
the link keys of what a person is sent (R19). The file is TOML; `consent-relay keyring` writes it."""

import base64
import binascii
import hashlib
import hmac
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, AnyStr

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent_contracts.reading import KEY_ID
from consent_privacy import private_files
from consent_privacy.errors import DecryptionFailedError, InvalidKeyringError, SealKeysMissingError, UnknownTenantError

_ID = re.compile(KEY_ID)
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SECRET_BYTES = 32
_NONCE_BYTES = 12
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def key_order(key_id: AnyStr) -> tuple[int, AnyStr]:
    """Sorts key ids from the oldest to the newest: h1, h9, h10."""
    return len(key_id), key_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    id: str
    secret: bytes = field(repr=False)
    primary: bool = False


class Keyring:
    """Immutable once loaded; safe in threads."""

    def __init__(
        self,
        *,
        seal_keys: Sequence[Key],
        hash_keys: Mapping[str, Sequence[Key]],
        link_keys: Mapping[str, Sequence[Key]] | None = None,
        exported: bool = False,
    ) -> None:
        """`seal_keys` oldest first: the last one seals. `hash_keys` by tenant, exactly one primary each; so are
        `link_keys`, of the tenants that have any.

        `exported`: what a process needs of the installation's keyring, which alone is changed. Seal keys may lack."""
        _check(seal_keys, hash_keys, link_keys or {}, exported)
        self.exported = exported
        self.seal_keys = tuple(seal_keys)
        self.hash_keys = {tenant: tuple(keys) for tenant, keys in hash_keys.items()}
        self.link_keys = {tenant: tuple(keys) for tenant, keys in (link_keys or {}).items()}
        self._live = {
            tenant: tuple(sorted(keys, key=lambda key: not key.primary)) for tenant, keys in self.hash_keys.items()
        }
        self._sealers = {key.id: _AesGcm(key) for key in seal_keys}
        self._newest = self._sealers[seal_keys[-1].id] if seal_keys else None
        self._hashers: dict[tuple[str, str], tuple[AddressHasher, ...]] = {}

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """The keyring of a file that no other user may read. Raises InvalidKeyringError."""
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
            cure = private_files.cure(path)
        except OSError as error:
            raise InvalidKeyringError(f"{path}: cannot be read ({error.strerror})") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
            # Neither error is passed on: a parser likes to quote the line, and the line is a secret.
            raise InvalidKeyringError(f"{path}: is no valid TOML") from None
        if cure is not None:
            raise InvalidKeyringError(
                f"{path}: other users can read or change these secrets; run: {cure} (Kubernetes: defaultMode: 0400)"
            )
        exported = document.get("exported", False)
        try:
            if not isinstance(exported, bool):
                raise InvalidKeyringError("exported is true or false")
            return cls(
                exported=exported,
                seal_keys=[] if exported and "seal_keys" not in document else _keys(document, "seal_keys"),
                hash_keys={
                    name: _keys(tenant, f"tenants.{name}.hash_keys") for name, tenant in _tenants(document).items()
                },
                link_keys={
                    name: _keys(tenant, f"tenants.{name}.link_keys")
                    for name, tenant in _tenants(document).items()
                    if isinstance(tenant, dict) and "link_keys" in tenant
                },
            )
        except InvalidKeyringError as error:
            raise InvalidKeyringError(f"{path}: {error}") from None

    @property
    def tenants(self) -> tuple[str, ...]:
        return tuple(self._live)

    def require_successor(self, newer: "Keyring") -> None:
        """Have a process that uses this keyring go on with ``newer``. Raises InvalidKeyringError where a tenant is
        missing, a hash key that cannot have been retired, or an id is another key's: what was hashed or sealed under it
        would not be found or opened again.

        Retired can be a hash key that is neither the primary one nor the newest, as `keyring retire` has it: both as
        this process knows them, so that it has taken the promotion first."""
        if missing := sorted(self.hash_keys.keys() - newer.hash_keys.keys()):
            raise InvalidKeyringError(
                f"tenant {missing[0]} has no hash keys any more: put them back, or restart the process if that is meant"
            )
        for tenant, keys in self.hash_keys.items():
            newest = max(keys, key=lambda key: key_order(key.id))
            kept = {key.id for key in newer.hash_keys[tenant]}
            for key in keys:
                if key.id not in kept and (key.primary or key is newest):
                    which = "primary" if key.primary else "newest"
                    raise InvalidKeyringError(
                        f"hash key {key.id} of tenant {tenant} is missing, the {which} one that this process uses: put"
                        " it back; to retire it, promote another and wait until every process has read that"
                    )
        theirs = dict(newer.named_keys())
        for name, key in self.named_keys():
            other = theirs.get(name, key)
            if not hmac.compare_digest(other.secret, key.secret):
                raise InvalidKeyringError(
                    f"{name} has another secret than before: this is the keyring of another installation, or an id was"
                    " used twice"
                )

    def named_keys(self) -> Iterator[tuple[str, Key]]:
        """Each key, and what to call it in a message."""
        for key in self.seal_keys:
            yield f"seal key {key.id}", key
        for kind, by_tenant in (("hash key", self.hash_keys), ("link key", self.link_keys)):
            for tenant, keys in by_tenant.items():
                for key in keys:
                    yield f"{kind} {key.id} of tenant {tenant}", key

    def export(self, tenants: Collection[str], *, hash_only: bool) -> "Keyring":
        """What a process needs that serves these tenants, and computes address keys only (`hash_only`) or opens sealed
        addresses too. Link keys stay: they speak for the person. Raises UnknownTenantError."""
        for tenant in tenants:
            if tenant not in self.hash_keys:
                raise UnknownTenantError(tenant)
        return Keyring(
            seal_keys=() if hash_only else self.seal_keys,
            hash_keys={tenant: self.hash_keys[tenant] for tenant in tenants},
            exported=True,
        )

    def address_key(self, tenant: str, channel: str, canonical: str) -> str:
        """The key under which the address is stored: of the tenant's primary hash key."""
        return self.hashers(tenant, channel)[0].address_key(canonical)

    def live_address_keys(self, tenant: str, channel: str, canonical: str) -> tuple[str, ...]:
        """The keys under which the address may be stored, the primary's first."""
        return tuple(hasher.address_key(canonical) for hasher in self.hashers(tenant, channel))

    def hashers(self, tenant: str, channel: str) -> "tuple[AddressHasher, ...]":
        """One for each live hash key, the primary's first: for callers that hash thousands in a row."""
        hashers = self._hashers.get((tenant, channel))
        if hashers is None:
            if tenant not in self._live:
                raise UnknownTenantError(tenant)
            hashers = tuple(AddressHasher(key, tenant, channel) for key in self._live[tenant])
            self._hashers[tenant, channel] = hashers
        return hashers

    def is_older_than(self, tenant: str, key_id: str) -> bool:
        """Whether the hash key `key_id` is newer than all of `tenant` here. Where it is in use, another process has
        a later keyring, and what is written under it cannot be found with this one."""
        return all(key_order(key.id) < key_order(key_id) for key in self.hash_keys.get(tenant, ()))

    def seal(self, address_key: str, canonical: str) -> bytes:
        """The address, sealed by the newest seal key and bound to its address_key."""
        return self.seal_record(canonical.encode(), address_key.encode())

    def open(self, address_key: str, sealed: bytes) -> str:
        try:
            return self.open_record(sealed, address_key.encode()).decode()
        except UnicodeDecodeError:
            raise DecryptionFailedError("tampered") from None

    def seal_record(self, data: bytes, aad: bytes) -> bytes:
        """Equal data under equal `aad` seals to equal bytes, so a repeated event changes nothing downstream."""
        if self._newest is None:
            raise SealKeysMissingError
        return self._newest.seal(data, aad)

    def open_record(self, sealed: bytes, aad: bytes) -> bytes:
        if self._newest is None:
            raise SealKeysMissingError
        length = sealed[0] if sealed else 0
        body = sealed[1 + length :]
        if not length or len(body) < _NONCE_BYTES + 16:
            raise DecryptionFailedError("truncated")
        sealer = self._sealers.get(sealed[1 : 1 + length].decode("ascii", "replace"))
        if sealer is None:
            raise DecryptionFailedError("unknown_key")
        return sealer.open(body, aad)


class AddressHasher:
    """`<key id>.<base64url HMAC-SHA256 without padding>` over tenant NUL channel NUL canonical address.

    HMAC is two hashes (RFC 2104). Both are keyed, and the inner one fed with what all addresses share, once; an
    address then costs two copies and a block: half the time of `hmac`'s own copy."""

    __slots__ = ("_inner", "_outer", "_prefix", "key_id")

    def __init__(self, key: Key, tenant: str, channel: str) -> None:
        block = key.secret.ljust(64, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD) + f"{tenant}\0{channel}\0".encode())
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))
        self.key_id = key.id
        self._prefix = key.id.encode("ascii") + b"."

    def key_bytes(self, canonical: str) -> bytes:
        """The address key as the key of a Kafka record."""
        inner = self._inner.copy()
        inner.update(canonical.encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        digest = binascii.b2a_base64(outer.digest(), newline=False)
        return self._prefix + digest.translate(_URL_SAFE)[:-1]

    def address_key(self, canonical: str) -> str:
        return self.key_bytes(canonical).decode("ascii")


class _AesGcm:
    """AES-256-GCM, laid out as: length of the key id, key id, nonce, ciphertext and tag.

    The nonce is a keyed hash of the associated data and the text. It can repeat only with the same text, where
    it gives the same bytes and reveals nothing that the address_key beside it does not reveal already. A random
    one would make each repetition of an event look like a change to the merge.
    The length in front keeps the order of key ids by age when sealed values are compared (s9 < s10)."""

    def __init__(self, key: Key) -> None:
        self._head = bytes([len(key.id)]) + key.id.encode("ascii")
        self._cipher = AESGCM(key.secret)
        self._nonce_key = hmac.digest(key.secret, b"consent-relay nonce", "sha256")

    def seal(self, data: bytes, aad: bytes) -> bytes:
        nonce = hmac.digest(self._nonce_key, len(aad).to_bytes(8, "big") + aad + data, "sha256")[:_NONCE_BYTES]
        return self._head + nonce + self._cipher.encrypt(nonce, data, aad)

    def open(self, body: bytes, aad: bytes) -> bytes:
        try:
            return self._cipher.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], aad)
        except InvalidTag:
            raise DecryptionFailedError("tampered") from None


def _tenants(document: Mapping[str, Any]) -> dict[str, Any]:
    tenants = document.get("tenants", {})
    if not isinstance(tenants, dict):
        raise InvalidKeyringError("[tenants] must be a table of tenants")
    return tenants


def _keys(table: Any, where: str) -> list[Key]:
    entries = table.get(where.rpartition(".")[2]) if isinstance(table, dict) else None
    if not isinstance(entries, list):
        raise InvalidKeyringError(f"[[{where}]] is missing")
    keys = []
    for number, entry in enumerate(entries, start=1):
        at = f"[[{where}]] number {number}"
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("id"), str)
            or not isinstance(entry.get("secret"), str)
        ):
            raise InvalidKeyringError(f"{at} needs an id and a secret, both text")
        try:
            secret = base64.b64decode(entry["secret"], validate=True)
        except (binascii.Error, ValueError):
            raise InvalidKeyringError(f"{at}: the secret is no base64") from None
        if not isinstance(entry.get("primary", False), bool):
            raise InvalidKeyringError(f"{at}: primary is true or false")
        keys.append(Key(id=entry["id"], secret=secret, primary=entry.get("primary", False)))
    return keys


def _check(
    seal_keys: Sequence[Key],
    hash_keys: Mapping[str, Sequence[Key]],
    link_keys: Mapping[str, Sequence[Key]],
    exported: bool,
) -> None:
    if not seal_keys and not exported:
        raise InvalidKeyringError("[[seal_keys]] needs at least one key")
    if not hash_keys:
        raise InvalidKeyringError("[tenants.<name>] needs at least one tenant")
    for where, keys in [("seal_keys", seal_keys), *hash_keys.items(), *link_keys.items()]:
        for key in keys:
            if not _ID.fullmatch(key.id):
                raise InvalidKeyringError(f"{where}: a key id is a letter and up to 15 letters or digits, lower-case")
            if len(key.secret) != _SECRET_BYTES:
                raise InvalidKeyringError(f"{where}: key {key.id} must have {_SECRET_BYTES} bytes")
        if len({key.id for key in keys}) != len(keys):
            raise InvalidKeyringError(f"{where}: two keys have the same id")
    for tenant, keys in hash_keys.items():
        if not _TENANT.fullmatch(tenant):
            raise InvalidKeyringError("a tenant's name is lower-case letters, digits, - and _")
        if sum(key.primary for key in keys) != 1:
            raise InvalidKeyringError(f"tenant {tenant} needs exactly one hash key with primary = true")
    for tenant, keys in link_keys.items():
        if sum(key.primary for key in keys) != 1:
            raise InvalidKeyringError(f"tenant {tenant} needs exactly one link key with primary = true")
