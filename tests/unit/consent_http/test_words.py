"""The words of pages: French signs, and dates. # R20"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from consent_http.words import Language, Words, typeset

PACKAGES = ("consent_api.links", "consent_api.rights", "consent_api.console", "status_page")


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def test_a_french_sign_stays_on_the_line_of_its_word() -> None:
    assert typeset("Qui ? Nous : « vous » ; oui !") == "Qui\xa0? Nous\xa0: «\xa0vous\xa0»\xa0; oui\xa0!"
    assert typeset("12:30, https://example.com") == "12:30, https://example.com"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_line_of_a_french_page_begins_with_a_sign(package: str) -> None:
    assert not re.search(r" [;:!?»]|« ", str(Words("fr", package).texts))


@pytest.mark.parametrize(
    ("language", "at", "day", "moment"),
    [
        ("fr", "2028-02-29 23:59:59", "29 février 2028", "29 février 2028 à 23:59:59 UTC"),
        ("fr", "2026-03-01 00:00:00", "1er mars 2026", "1er mars 2026 à 00:00:00 UTC"),
        ("fr", "2026-03-11 12:00:00", "11 mars 2026", "11 mars 2026 à 12:00:00 UTC"),
        ("en", "2026-03-01 00:00:00", "March 1, 2026", "March 1, 2026 at 00:00:00 UTC"),
    ],
)
def test_dates_are_those_of_the_language(language: Language, at: str, day: str, moment: str) -> None:
    words = Words(language, "consent_api.links")
    assert (words.day(micros(at)), words.moment(micros(at))) == (day, moment)
