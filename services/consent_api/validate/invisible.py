"""Characters that nobody sees: they come along when a text is copied or exported, and make two of one reference."""

from __future__ import annotations

import re
import unicodedata

# Unicode 16.0, DerivedCoreProperties.txt: Default_Ignorable_Code_Point (the standard library does not have it); and the
# remaining format characters that stand in a text without being seen (interlinear annotation, shorthand, musical).
_RANGES = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
_INVISIBLE = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _RANGES) + "]")
_BLANK = re.compile(r"[^\S\t\n\r\x0b\x0c\x1c-\x1f\x85]|\u2800")
"""White space of every script, but for control characters; and the Braille pattern without dots, drawn as a blank."""


def normalised(text: str) -> str:
    """``text`` trimmed, in NFC, without invisible characters, and with plain blanks. Idempotent."""
    if not text.isascii():
        text = _BLANK.sub(" ", unicodedata.normalize("NFC", _INVISIBLE.sub("", text)))
    return text.strip()
