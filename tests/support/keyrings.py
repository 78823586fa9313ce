"""Keyring files with chosen keys."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

from consent_privacy.keyring import Key


def write_keyring(path: Path, seal_keys: Sequence[Key], tenants: Mapping[str, Sequence[Key]]) -> Path:
    """A keyring file as an operator would edit it."""

    def section(name: str, key: Key, *more: str) -> str:
        return "\n".join((f"[[{name}]]", f'id = "{key.id}"', f'secret = "{b64encode(key.secret).decode()}"', *more))

    parts = [section("seal_keys", key) for key in seal_keys]
    for tenant, keys in tenants.items():
        parts += [section(f"tenants.{tenant}.hash_keys", key, f"primary = {str(key.primary).lower()}") for key in keys]
    path.touch(mode=0o600)
    path.write_text("\n\n".join(parts), encoding="utf-8")
    return path
