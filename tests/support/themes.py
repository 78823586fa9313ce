"""A tenant's preference centre, for tests and for pictures of it."""

from __future__ import annotations

from pathlib import Path

from consent_api.links.theme import Theme, read_themes
from local_stack.preference_centre import THEME

CHANNELS = ("sms", "email", "voice")


def themes(directory: Path) -> dict[str, Theme]:
    path = directory / "themes.yaml"
    path.write_text(THEME, "utf-8")
    return read_themes(path, channels=CHANNELS)
