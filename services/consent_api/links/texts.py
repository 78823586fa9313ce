"""The words of the pages behind links, in each language."""

from __future__ import annotations

from collections.abc import Mapping

from consent_http.words import LANGUAGES, Language, Words

WORDS: Mapping[Language, Words] = {language: Words(language, __package__) for language in LANGUAGES}
