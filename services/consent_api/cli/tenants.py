"""Whose data a command is about."""

from __future__ import annotations

from collections.abc import Iterable

import click


def chosen_tenant(tenant: str | None, known: Iterable[str]) -> str:
    """What --tenant names of those that the keyring has hash keys for; left out, the only one. Raises
    click.BadParameter."""
    tenants = sorted(known)
    if tenant is None and len(tenants) == 1:
        return tenants[0]
    if tenant is None or tenant not in tenants:
        raise click.BadParameter(f"name one that the keyring has: {', '.join(tenants)}", param_hint="--tenant")
    return tenant
