"""Invisible characters: they come along when a text is copied or exported, and make two of one reference."""

from __future__ import annotations

import re
import unicodedata

from consent_privacy.invisible import REMOVED

_ANNOTATION = range(0xFFF9, 0xFFFC)
"""Interlinear annotation: format characters that Unicode has programs show, and hardly any does."""
_REMOVED = REMOVED | dict.fromkeys(_ANNOTATION)
_BLANK = re.compile(r"[^\S\t\n\r\x0b\x0c\x1c-\x1f\x85]|\u2800")
"""White space of every script, but for control characters; and the Braille pattern without dots, drawn as a blank."""


def normalised(text: str) -> str:
    """``text`` trimmed, in NFC, without invisible characters, and with plain blanks. Idempotent."""
    if not text.isascii():
        text = _BLANK.sub(" ", unicodedata.normalize("NFC", text.translate(_REMOVED)))
    return text.strip()
