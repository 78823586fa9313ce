"""The words of pages for people, in each language."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Literal

from babel.core import negotiate_locale
from babel.dates import format_date, format_datetime

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = ("en", "fr")
_FRENCH_BLANK = re.compile(r" (?=[;:!?»])|(?<=«) ")
"""French sets a blank before these signs, at which no line may end."""
_MOMENTS = {"en": "MMMM d, y 'at' HH:mm:ss 'UTC'", "fr": "d MMMM y 'à' HH:mm:ss 'UTC'"}
"""Not those of Babel, which are American in English and say TU in French."""


class Words:
    """The texts of one language, and its dates."""

    def __init__(self, language: Language, package: str) -> None:
        """``package`` has them in its folder words."""
        self.language = language
        source = files(package).joinpath("words", f"{language}.toml")
        written = source.read_text("utf-8")
        self._texts: Mapping[str, Any] = tomllib.loads(typeset(written) if language == "fr" else written)

    @property
    def texts(self) -> Mapping[str, Any]:
        return self._texts

    def __call__(self, name: str, /, **values: object) -> str:
        """A text by its dotted name, with its values; KeyError."""
        found: Any = self._texts
        for part in name.split("."):
            found = found[part]
        return str(found).format(**values)

    def of_channel(self, table: str, channel: str) -> str:
        """A channel's entry of a table; for one that we have no words for, the table's ``other`` or its name."""
        known = self._texts[table]
        return str(known.get(channel) or known.get("other") or channel)

    def day(self, micros: int) -> str:
        return _dated(format_date(_moment(micros).date(), "long", locale=self.language), self.language)

    def moment(self, micros: int) -> str:
        """To the second, in UTC."""
        return written(_moment(micros), self.language)


def written(moment: datetime, language: Language) -> str:
    """To the second, in UTC."""
    return _dated(format_datetime(moment, _MOMENTS[language], locale=language), language)


def _dated(text: str, language: Language) -> str:
    """In French, the first day of a month is an ordinal number."""
    return text.replace("1 ", "1er ", 1) if language == "fr" and text.startswith("1 ") else text


def typeset(french: str) -> str:
    """A French text whose signs stay on the line of the word before them."""
    return _FRENCH_BLANK.sub("\N{NO-BREAK SPACE}", french)


def chosen(asked: str | None, accepted: str | None, default: Language) -> Language:
    """The language that the link asks for, or the browser (Accept-Language), or else ``default``."""
    for language in LANGUAGES:
        if asked == language:
            return language
    found = negotiate_locale(_preferred(accepted or ""), LANGUAGES, sep="-")
    return next((language for language in LANGUAGES if found == language), default)


def _preferred(header: str) -> list[str]:
    """The languages of an Accept-Language header, the most wished-for first."""
    weighted: list[tuple[float, str]] = []
    for part in header[:500].split(","):
        name, _, parameter = part.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if weight > 0:
            weighted.append((-weight, name.strip().partition("-")[0].lower()))
    return [name for _, name in sorted(weighted, key=lambda each: each[0]) if name]


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, tz=UTC)
