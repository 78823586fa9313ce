"""A document as PDF, tagged for screen readers, with its fonts within.

No standard such as PDF/UA is claimed: the compiler then refuses a text in a script that the fonts lack (Chinese, say),
and a person gets their data whatever is in it. Such characters show as boxes here, and as they are in HTML."""

from __future__ import annotations

import threading
from importlib.resources import files

import msgspec

from consent_api.rights.documents.document import Document

MEDIA_TYPE = "application/pdf"
_TEMPLATE = files(__package__).joinpath("templates", "document.typ").read_bytes()
_ONE_AT_A_TIME = threading.Lock()
"""A long document takes a second of a processor, and a hundred megabytes."""


def render(document: Document) -> bytes:
    """The texts reach the template as data: nothing in them is read as markup."""
    import typst

    theme = document.theme
    content = {
        "language": document.language,
        "name": theme.name,
        "accent": theme.colours.accent,
        "title": document.title,
        "lead": document.lead,
        "lines": document.lines,
        "sections": document.sections,
        "closing": document.closing,
    }
    with _ONE_AT_A_TIME:
        return typst.compile(
            _TEMPLATE,
            format="pdf",
            ignore_system_fonts=True,
            sys_inputs={"content": msgspec.json.encode(content).decode()},
        )
