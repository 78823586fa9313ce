"""How a package's pages are rendered: by its own templates, and those that pages of several packages share."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def templates_of(package: str) -> Environment:
    """From the package's folder `templates`; `login.html` is ours, where the package has none. Whatever a template
    shows is escaped, and what it names has to be there."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__package__ or "consent_http")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
