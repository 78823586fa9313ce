"""A document as one HTML file that loads nothing and needs no script: to read, to print, to keep."""

from __future__ import annotations

from importlib.resources import files

from consent_api.links import pages
from consent_api.links.theme import Theme
from consent_api.rights.documents.document import Document
from consent_http.templating import templates_of

MEDIA_TYPE = "text/html"
_STYLE = files(__package__).joinpath("templates", "document.css").read_text("utf-8")
_TEMPLATES = templates_of(__package__ or "consent_api.rights.documents")


def style_of(theme: Theme) -> str:
    """The style sheet of a tenant's documents."""
    return pages.style_of(theme) + _STYLE


def render(document: Document) -> bytes:
    template = _TEMPLATES.get_template("document.html")
    return template.render(document=document, style=style_of(document.theme)).encode()
