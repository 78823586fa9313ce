"""The figures in words: both languages have all of them, and what processes send is shown as text. # R20 R39"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import pytest

from consent_http.words import LANGUAGES, Language
from consent_kafka.dead_letters import READER_REASONS
from status_page import pages, questions
from status_page.dead_letters import DeadLetter
from status_page.errors import REASONS
from status_page.events import Event, Kind
from status_page.figures import Drain, State, figures
from status_page.findings import RUNBOOKS, Finding, Shown
from status_page.pages import WORDS
from tests.support.status_history import TOPICS, observed

HOSTILE = '<script>alert(1)</script>"&{x}'


def names(texts: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in texts.items():
        if isinstance(value, dict):
            yield from names(value, f"{prefix}{name}.")
        else:
            values = sorted(re.findall(r"{(\w+)}", value))
            yield f"{prefix}{name} {values}"


def test_both_languages_have_every_text_with_the_same_values() -> None:
    english, french = (set(names(dict(WORDS[language].texts))) for language in LANGUAGES)
    assert english == french


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_that_can_be_shown_has_words(language: Language) -> None:
    words = WORDS[language]
    path = questions.stages(TOPICS)
    for stage in path:
        assert words(f"stages.{stage.name}.title")
    assert set(words.texts["states"]) == set(get_args(State))
    assert set(words.texts["drains"]) == {*get_args(Drain)} - {"drains"}
    assert set(words.texts["events"]) == {*get_args(Kind), "title", "none"}
    for plot in (*(each for stage in path for each in stage.plots), *questions.OF_DESTINATION):
        assert words(f"plots.{plot.name}")
        assert all(words(f"lines.{line.name}") for line in plot.lines if line.name)
    assert set(words.texts["findings"]) == set(RUNBOOKS)
    assert set(words.texts["reasons"]) == set(REASONS)
    assert set(words.texts["dead_letter_reasons"]) == {*READER_REASONS, "without_effect", "not_storable"}


@pytest.mark.parametrize(
    ("value", "unit", "english", "french"),
    [
        (0.0123, "seconds", "12 ms", "12 ms"),
        (1.25, "seconds", "1.2 s", "1,2 s"),
        (75, "seconds", "75 s", "75 s"),
        (600, "seconds", "10 min", "10 min"),
        (3 * 86_400, "seconds", "72 h", "72 h"),
        (-0.2, "seconds", "0 ms", "0 ms"),
        (12.345, "rate", "12.3/s", "12,3/s"),
        (12_345, "count", "12,345", "12 345"),
        (0.9987, "share", "99.9 %", "99,9 %"),
        (None, "rate", "–", "–"),
    ],
)
def test_a_number_is_written_as_people_read_it(value: float | None, unit: Shown, english: str, french: str) -> None:
    in_english, in_french = (pages.shown(WORDS[language], value, unit) for language in ("en", "fr"))
    assert in_english.replace("\u00a0", " ") == english
    assert re.sub(r"[\u00a0\u202f]", " ", in_french) == french


@pytest.mark.long
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_process_sends_is_text(language: Language) -> None:
    shown = figures(observed(faults=True))
    hostile = replace(
        shown,
        findings=[Finding(alert="BreakerOpen", about=HOSTILE)],
        events=[Event(at=1, kind="not_ready", about=HOSTILE, reason=HOSTILE)],
        dead_letters=[
            DeadLetter(at=1, about="ingest", topic=HOSTILE, partition=HOSTILE, offset=1, reason=HOSTILE),
        ],
        destinations=[replace(shown.destinations[0], name=HOSTILE)],
        processes=[replace(shown.processes[0], not_ready=HOSTILE)],
    )
    html = pages.fragment(language, hostile)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 8


def test_a_reason_that_is_new_is_shown_as_it_is() -> None:
    event = Event(at=1, kind="dead_letters", about="ingest", reason="brand_new", count=2)
    assert "brand_new" in pages.of_event(WORDS["en"], event)


@pytest.mark.long
@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("en", "ingest set consent.inbound.v1:2:71 aside: it is not what its schema describes"),
        ("fr", "ingest a mis consent.inbound.v1:2:71 de côté : il n’est pas ce que son schéma décrit"),
    ],
)
def test_a_dead_letter_is_shown_with_its_time_place_and_reason(language: Language, line: str) -> None:
    html = pages.fragment(language, figures(observed(faults=True)))
    shown = html.partition('id="dead-letters"')[2].partition("</section>")[0]
    assert "<time>2026-09-21 14:23:20</time>" in shown
    assert line in re.sub(r"[\u00a0\u202f]", " ", shown)
    assert "consent-relay dead-letters list" in shown


@pytest.mark.long
def test_where_there_is_no_dead_letter_it_is_said() -> None:
    html = pages.fragment("en", figures(observed()))
    assert "None since the processes were started." in html.partition('id="dead-letters"')[2].partition("</section>")[0]


@pytest.mark.long
def test_a_silent_process_is_named_with_the_time_and_never_with_a_zero() -> None:
    html = pages.fragment("en", figures(observed(faults=True)))
    of_list = html.partition("6. Suppression list")[2].partition("7. Propagator")[0]
    latency = of_list.partition("<figcaption>Latency</figcaption>")[2].partition("</figure>")[0]
    assert "no answer since" in latency
    assert "<strong>" not in latency
