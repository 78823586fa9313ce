"""A tenant's preference centre, for tests and for pictures of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from consent_api.links.theme import Theme, read_themes
from local_stack.preference_centre import THEME

CHANNELS = ("sms", "email", "voice")


def selling(by_tenant: dict[str, Theme]) -> dict[str, Theme]:
    """With the newsletter as what data is shared for."""
    theme = by_tenant["acme"]
    purposes = (each.model_copy(update={"sale_or_share": each.id == "newsletter"}) for each in theme.purposes)
    return {"acme": replace(theme, purposes=tuple(purposes))}


def themes(directory: Path) -> dict[str, Theme]:
    path = directory / "themes.yaml"
    path.write_text(THEME, "utf-8")
    return read_themes(path, channels=CHANNELS)
