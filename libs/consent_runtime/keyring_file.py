"""Writes keyring files: a new one, and the steps of a rotation, each of which leaves every reader able to
work. `consent-relay keyring` is the command over it: `--help` lists the steps."""

import base64
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from consent_runtime.keyring import InvalidKeyring, Key, Keyring, age


def generate(path: Path, tenants: Sequence[str]) -> Keyring:
    """A new keyring file, mode 0600. Raises FileExistsError rather than replace secrets that data depends on."""
    keyring = Keyring(seal_keys=[_new("s1")], hash_keys={tenant: [_new("h1", primary=True)] for tenant in tenants})
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_document(keyring))
    return keyring


def add_seal_key(path: Path) -> str:
    """A newer seal key: everything sealed from now on is sealed with it, the older ones still open."""
    keyring = Keyring.load(path)
    key = _new(_next_id("s", keyring.seal_keys))
    _replace(path, Keyring(seal_keys=[*keyring.seal_keys, key], hash_keys=keyring.hash_keys))
    return key.id


def add_hash_key(path: Path, tenant: str) -> str:
    """A second live hash key, not yet primary: publish everything under it before promoting it."""
    keyring = Keyring.load(path)
    key = _new(_next_id("h", _hash_keys(keyring, tenant)))
    _replace_hash_keys(path, keyring, tenant, [*_hash_keys(keyring, tenant), key])
    return key.id


def promote(path: Path, tenant: str, key_id: str) -> None:
    """Make a live hash key the primary one."""
    keyring = Keyring.load(path)
    keys = _hash_keys(keyring, tenant)
    if key_id not in {key.id for key in keys}:
        raise InvalidKeyring(f"tenant {tenant} has no hash key {key_id}")
    _replace_hash_keys(path, keyring, tenant, [replace(key, primary=key.id == key_id) for key in keys])


def retire(path: Path, tenant: str, key_id: str) -> None:
    """Forget a hash key that is no longer primary: entries under it are no longer found. The newest one stays:
    readers take entries under a newer key than theirs for proof that their keyring is outdated, and deny."""
    keyring = Keyring.load(path)
    keys = _hash_keys(keyring, tenant)
    if key_id not in {key.id for key in keys if not key.primary}:
        raise InvalidKeyring(f"tenant {tenant} has no hash key {key_id} that could go; the primary one cannot")
    if key_id == max((key.id for key in keys), key=age):
        raise InvalidKeyring(f"{key_id} is tenant {tenant}'s newest hash key and has to stay: rotate first")
    _replace_hash_keys(path, keyring, tenant, [key for key in keys if key.id != key_id])


def _hash_keys(keyring: Keyring, tenant: str) -> tuple[Key, ...]:
    if tenant not in keyring.hash_keys:
        raise InvalidKeyring(f"there is no tenant {tenant}")
    return keyring.hash_keys[tenant]


def _replace_hash_keys(path: Path, keyring: Keyring, tenant: str, keys: Sequence[Key]) -> None:
    _replace(path, Keyring(seal_keys=keyring.seal_keys, hash_keys={**keyring.hash_keys, tenant: keys}))


def _replace(path: Path, keyring: Keyring) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_document(keyring))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _new(key_id: str, *, primary: bool = False) -> Key:
    return Key(id=key_id, secret=secrets.token_bytes(32), primary=primary)


def _next_id(letter: str, keys: Sequence[Key]) -> str:
    numbers = [int(key.id[1:]) for key in keys if key.id[0] == letter and key.id[1:].isdigit()]
    return f"{letter}{max(numbers, default=0) + 1}"


def _document(keyring: Keyring) -> str:
    lines = ["# Secrets of Consent Relay. Lost hash keys: no address is found again. Lost seal keys: none is opened."]
    for key in keyring.seal_keys:
        lines += ["", "[[seal_keys]]", *_key(key)]
    for tenant, keys in keyring.hash_keys.items():
        for key in keys:
            lines += ["", f'[[tenants."{tenant}".hash_keys]]', *_key(key)]
            lines.append(f"primary = {'true' if key.primary else 'false'}")
    return "\n".join(lines) + "\n"


def _key(key: Key) -> list[str]:
    return [f'id = "{key.id}"', f'secret = "{base64.b64encode(key.secret).decode()}"']
