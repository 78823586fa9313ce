"""What the pages of the console are made of."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from consent_api.console import pages, reading
from consent_api.console.pages import Page
from consent_api.ledger.console_sessions import Session
from consent_api.links.theme import Theme
from consent_http.api_keys import SCOPES, ApiKey
from consent_http.errors import ProblemError
from consent_http.words import LANGUAGES, Language

KEY = ApiKey(id="ab12", digest="0" * 64, tenant="acme", scopes=SCOPES)
SESSION = Session(key=KEY, name="Desk 7", token="the-token")
PAGE = Page(theme=Theme(name="Acme"), language="en", root="../", below="person/x", session=SESSION)


def names(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        yield from names(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [prefix + name]


def test_every_text_is_there_in_each_language_with_the_same_values() -> None:
    english, french = (pages.WORDS[language].texts for language in LANGUAGES)
    assert sorted(names(english)) == sorted(names(french))
    for name in names(english):
        found = [str(_at(texts, name)) for texts in (english, french)]
        assert [sorted(re.findall(r"\{\w+\}", each)) for each in found[:1]] == [
            sorted(re.findall(r"\{\w+\}", each)) for each in found[1:]
        ], name


def test_every_text_that_a_template_names_is_there() -> None:
    known = set(names(tomllib.loads(files("consent_api.console").joinpath("words", "en.toml").read_text("utf-8"))))
    for template in files("consent_api.console").joinpath("templates").iterdir():
        for name in re.findall(r'\bt\("([a-z_.]+)"[,)]', template.read_text("utf-8")):
            assert name in known, (template.name, name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_has_no_script_loads_nothing_and_is_in_no_frame(language: Language) -> None:
    answer = pages.fault(replace(PAGE, language=language), 404)
    html = bytes(answer.body).decode()
    assert f'<html lang="{language}">' in html
    assert "<script" not in html
    assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", html)
    policy = answer.headers["content-security-policy"]
    for directive in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"):
        assert directive in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    # A browser sends a form as from nowhere where a page forbids every referrer.
    assert answer.headers["referrer-policy"] == "same-origin"


def test_the_menu_has_what_the_key_may_see() -> None:
    only = replace(PAGE, session=replace(SESSION, key=replace(KEY, scopes=frozenset({"console", "submit"}))))
    html = bytes(pages.fault(only, 404).body).decode()
    assert "../agent?lang=en" in html
    assert "../reviews" not in html
    assert "../requests" not in html


@pytest.mark.parametrize(
    ("below", "twin"),
    [
        ("", "./?lang=fr"),
        ("search", "./?lang=fr"),
        ("agent", "./agent?lang=fr"),
        ("reviews/4711", "../reviews?lang=fr"),
        ("person/abc/answer", "../../person/abc/answer?lang=fr"),
        ("person/abc/requests", "../../person/abc?lang=fr"),
        ("logout", "./login?lang=fr"),
    ],
)
def test_the_other_language_of_an_answered_form_is_the_page_that_has_it(below: str, twin: str) -> None:
    assert replace(PAGE, below=below, root="../" * below.count("/") or "./").twin == twin


def test_a_problem_is_shown_in_the_language_of_the_page() -> None:
    withheld = ProblemError(422, "number-withheld", "The number of this call is withheld.", cure="Ask.")
    assert "masqué" in pages.of_problem(replace(PAGE, language="fr"), withheld)
    assert pages.of_problem(PAGE, ProblemError(422, "new", "Wrong.", cure="Mend it.")) == "Wrong. Mend it."


@pytest.mark.parametrize(
    ("address", "written", "masked"),
    [
        ("+33639980051", "+33 6 39 98 00 51", "+33 ••• 51"),
        ("someone@example.com", "someone@example.com", "s•••@example.com"),
        ("device-77", "device-77", "de•••"),
    ],
)
def test_addresses_are_shown_in_groups_or_masked(address: str, written: str, masked: str) -> None:
    assert reading.written(address) == written
    assert reading.masked(address) == masked


def _at(table: Any, name: str) -> Any:
    for part in name.split("."):
        table = table[part]
    return table
