"""The sentences of previews, certificates and retained proofs in the language of a page. Pure.

They are stored and answered in English; as with gettext, the English sentence is the key of its translation.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from consent_http.words import Language, typeset

GROUNDS = "; "
"""Between several grounds in one text."""


def in_language(text: str, language: Language) -> str:
    """The sentence, or several grounds, in this language; in English where it is not translated."""
    if language == "en":
        return text
    known = french()
    return known.get(text) or f"\N{NO-BREAK SPACE}{GROUNDS}".join(known.get(each, each) for each in text.split(GROUNDS))


@cache
def french() -> Mapping[str, str]:
    return tomllib.loads(typeset(resources.files(__package__ or "").joinpath("french.toml").read_text("utf-8")))
