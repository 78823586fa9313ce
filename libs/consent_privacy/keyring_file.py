"""Writes keyring files: a new one, and the steps of a rotation, each of which leaves every reader able to
work. `consent-relay keyring` is the command over it: `--help` lists the steps."""

import base64
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from consent_privacy import private_files
from consent_privacy.errors import InvalidKeyringError
from consent_privacy.keyring import Key, Keyring, key_order


def generate(path: Path, tenants: Sequence[str]) -> Keyring:
    """A new keyring file, mode 0600. Raises FileExistsError rather than replace secrets that data depends on."""
    keyring = Keyring(
        seal_keys=[_new("s1")],
        hash_keys={tenant: [_new("h1", primary=True)] for tenant in tenants},
        link_keys={tenant: [_new("l1", primary=True)] for tenant in tenants},
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_document(keyring))
    return keyring


def export(path: Path, target: Path, tenants: Sequence[str], *, hash_only: bool) -> None:
    """Write to `target` what a process needs that serves these tenants; an earlier export is replaced. Raises
    FileExistsError rather than replace anything else."""
    wanted = _installations(path).export(tenants, hash_only=hash_only)
    try:
        replaceable = Keyring.load(target).exported
    except InvalidKeyringError:
        replaceable = not target.exists()
    if not replaceable:
        raise FileExistsError(target)
    private_files.replace(target, _document(wanted))


def add_tenant(path: Path, tenant: str) -> None:
    """A first hash key, and a first link key, for a tenant that has none."""
    keyring = _installations(path)
    if tenant in keyring.hash_keys:
        raise InvalidKeyringError(
            f"tenant {tenant} has hash keys; a newer one is added by: keyring rotate --tenant {tenant}"
        )
    _replace(
        path,
        keyring,
        hash_keys={tenant: [_new("h1", primary=True)]},
        link_keys={tenant: [_new("l1", primary=True)]},
    )


def add_seal_key(path: Path) -> str:
    """A newer seal key: everything sealed from now on is sealed with it, the older ones still open."""
    keyring = _installations(path)
    key = _new(_next_id("s", keyring.seal_keys))
    _replace(path, keyring, seal_keys=[*keyring.seal_keys, key])
    return key.id


def add_hash_key(path: Path, tenant: str) -> str:
    """A second live hash key, not yet primary: publish everything under it before promoting it."""
    keyring = _installations(path)
    key = _new(_next_id("h", _hash_keys(keyring, tenant)))
    _replace(path, keyring, hash_keys={tenant: [*_hash_keys(keyring, tenant), key]})
    return key.id


def add_link_key(path: Path, tenant: str) -> str:
    """A second live link key, which opens links; a first one is primary at once. Promote it once every process that
    answers links has it."""
    keyring = _installations(path)
    _hash_keys(keyring, tenant)
    keys = keyring.link_keys.get(tenant, ())
    key = _new(_next_id("l", keys), primary=not keys)
    _replace(path, keyring, link_keys={tenant: [*keys, key]})
    return key.id


def promote_link_key(path: Path, tenant: str, key_id: str) -> None:
    """Make a live link key the primary one: new links are made with it."""
    keyring = _installations(path)
    keys = keyring.link_keys.get(tenant, ())
    if key_id not in {key.id for key in keys}:
        raise InvalidKeyringError(f"tenant {tenant} has no link key {key_id}")
    _replace(path, keyring, link_keys={tenant: [replace(key, primary=key.id == key_id) for key in keys]})


def retire_link_key(path: Path, tenant: str, key_id: str) -> None:
    """Forget a link key that is no longer primary: every link that was made with it ceases to work."""
    keyring = _installations(path)
    keys = keyring.link_keys.get(tenant, ())
    if key_id not in {key.id for key in keys if not key.primary}:
        raise InvalidKeyringError(f"tenant {tenant} has no link key {key_id} that could go; the primary one cannot")
    _replace(path, keyring, link_keys={tenant: [key for key in keys if key.id != key_id]})


def promote(path: Path, tenant: str, key_id: str) -> None:
    """Make a live hash key the primary one."""
    keyring = _installations(path)
    keys = _hash_keys(keyring, tenant)
    if key_id not in {key.id for key in keys}:
        raise InvalidKeyringError(f"tenant {tenant} has no hash key {key_id}")
    _replace(path, keyring, hash_keys={tenant: [replace(key, primary=key.id == key_id) for key in keys]})


def retire(path: Path, tenant: str, key_id: str) -> None:
    """Forget a hash key that is no longer primary: entries under it are no longer found. The newest one stays:
    readers take entries under a newer key than theirs for proof that their keyring is outdated, and deny."""
    keyring = _installations(path)
    keys = _hash_keys(keyring, tenant)
    if key_id not in {key.id for key in keys if not key.primary}:
        raise InvalidKeyringError(f"tenant {tenant} has no hash key {key_id} that could go; the primary one cannot")
    if key_id == max((key.id for key in keys), key=key_order):
        raise InvalidKeyringError(f"{key_id} is tenant {tenant}'s newest hash key and has to stay: rotate first")
    _replace(path, keyring, hash_keys={tenant: [key for key in keys if key.id != key_id]})


def _installations(path: Path) -> Keyring:
    """The keyring of a file that may be changed, and that others are made from."""
    keyring = Keyring.load(path)
    if keyring.exported:
        raise InvalidKeyringError(f"{path} is an export: change the installation's keyring, and export again")
    return keyring


def _hash_keys(keyring: Keyring, tenant: str) -> tuple[Key, ...]:
    if tenant not in keyring.hash_keys:
        raise InvalidKeyringError(f"there is no tenant {tenant}")
    return keyring.hash_keys[tenant]


def _replace(
    path: Path,
    keyring: Keyring,
    *,
    seal_keys: Sequence[Key] | None = None,
    hash_keys: Mapping[str, Sequence[Key]] | None = None,
    link_keys: Mapping[str, Sequence[Key]] | None = None,
) -> None:
    """Write the keyring with these keys in place of its own; of hash and link keys, the named tenants'."""
    changed = Keyring(
        seal_keys=keyring.seal_keys if seal_keys is None else seal_keys,
        hash_keys={**keyring.hash_keys, **(hash_keys or {})},
        link_keys={**keyring.link_keys, **(link_keys or {})},
    )
    private_files.replace(path, _document(changed))


def _new(key_id: str, *, primary: bool = False) -> Key:
    return Key(id=key_id, secret=secrets.token_bytes(32), primary=primary)


def _next_id(letter: str, keys: Sequence[Key]) -> str:
    numbers = [int(key.id[1:]) for key in keys if key.id[0] == letter and key.id[1:].isdigit()]
    return f"{letter}{max(numbers, default=0) + 1}"


def _document(keyring: Keyring) -> str:
    lines = ["# Secrets of Consent Relay. Lost hash keys: no address is found again. Lost seal keys: none is opened."]
    if keyring.exported:
        lines += ["# Written by `consent-relay keyring export`: after each change of the keyring, export it again.", ""]
        lines.append("exported = true")
    for key in keyring.seal_keys:
        lines += ["", "[[seal_keys]]", *_key(key)]
    for kind, by_tenant in (("hash_keys", keyring.hash_keys), ("link_keys", keyring.link_keys)):
        for tenant, keys in by_tenant.items():
            for key in keys:
                lines += ["", f'[[tenants."{tenant}".{kind}]]', *_key(key)]
                lines.append(f"primary = {'true' if key.primary else 'false'}")
    return "\n".join(lines) + "\n"


def _key(key: Key) -> list[str]:
    return [f'id = "{key.id}"', f'secret = "{base64.b64encode(key.secret).decode()}"']
