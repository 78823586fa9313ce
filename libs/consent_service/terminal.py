"""Foreign text on a terminal: what it shows is what is there."""

from __future__ import annotations

import json

from consent_privacy.invisible import REMOVED


def shown(text: str) -> str:
    """`text` in one line, with escapes as in JSON for all that a terminal obeys or does not show: controls, line ends,
    direction marks, zero-width characters, unusual spaces, halves of surrogates."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character.isprintable() and ord(character) not in REMOVED else json.dumps(character)[1:-1]
        for character in text
    )
