"""Characters that show nothing: Unicode's property Default_Ignorable_Code_Point, which the standard library lacks.

From DerivedCoreProperties.txt of Unicode 14.0: soft hyphen, fillers, zero-width characters, direction marks, variation
selectors, shorthand and musical controls, tags, with the places reserved for more of them."""

RANGES = (
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
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
JOINERS = "\u200c\u200d"
"""Zero-width non-joiner and joiner. In a domain they distinguish names, where IDNA permits them."""

REMOVED = dict.fromkeys(code for first, last in RANGES for code in range(first, last + 1))
"""For str.translate."""
REMOVED_BUT_JOINERS = {code: None for code in REMOVED if chr(code) not in JOINERS}
