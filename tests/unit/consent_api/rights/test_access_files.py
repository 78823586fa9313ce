"""All that is held about a person, as JSON, CSV, HTML and PDF. # R32"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from consent_api.links.theme import Theme
from consent_api.rights import phrases
from consent_api.rights.access import files, model, report
from consent_api.rights.documents import html, pdf
from consent_http.words import LANGUAGES, Language
from tests.support.personal_data import HEAD, NOTHING, TAIL, SampleExport, decision
from tests.support.themes import themes

SCHEMA = json.loads((Path(__file__).parents[4] / "docs" / "personal-data.schema.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def theme(tmp_path_factory: pytest.TempPathFactory) -> Theme:
    return themes(tmp_path_factory.mktemp("themes"))["acme"]


def rows(export: SampleExport) -> list[dict[str, str]]:
    text = b"".join(files.csv_pieces(export)).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_published_schema_is_that_of_the_code() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    cure = "python -m consent_api.rights.access.model > docs/personal-data.schema.json"
    assert model.schema() == SCHEMA, cure


@pytest.mark.parametrize(
    "export",
    [SampleExport(), SampleExport(pages=[]), SampleExport(NOTHING), SampleExport(pages=[[decision(1), decision(2)]])],
)
def test_json_is_as_its_schema_describes_it(export: SampleExport) -> None:
    found = json.loads(b"".join(files.json_pieces(export)))
    Draft202012Validator(SCHEMA, format_checker=FormatChecker()).validate(found)
    assert len(found["decisions"]) == sum(map(len, export.pages()))
    assert found["held"] is export.head.held


def test_no_cell_of_the_csv_is_a_formula() -> None:
    found = rows(SampleExport())
    for row in found:
        for cell in row.values():
            assert not re.match(r"[=+\-@\t\r＝＋－＠]", cell), row
    reply = next(row for row in found if row["record"] == "reply_in_doubt")
    assert reply["text"] == "'=stop? ou pas 😀"
    number = next(row for row in found if row["record"] == "address" and row["channel"] == "sms")
    assert number["address"] == "'+33639980001"


@pytest.mark.parametrize(
    ("reply", "cell"),
    [
        ("stop;=1+1", "stop;'=1+1"),
        ('stop;"=1+1"', 'stop;\'"=1+1"'),
        ("stop; @sum", "stop;' @sum"),
        ("stop\n-1", "stop\n'-1"),
        ("\tstop", "'\tstop"),
        ('"=1+1', "'\"=1+1"),
        ("stop ; ok = no", "stop ; ok = no"),
        ("stop\n\nnow", "stop\n\nnow"),
        ("a;" * 1_000, "a;" * 1_000),
    ],
)
def test_no_separator_within_a_text_begins_a_formula(reply: str, cell: str) -> None:
    """A spreadsheet in French separates by semicolons."""
    tail = model.Tail(reviews=[msgspec.structs.replace(TAIL.reviews[0], reply=reply)], recipients=[])
    found = rows(SampleExport(tail=tail))
    assert next(row["text"] for row in found if row["record"] == "reply_in_doubt") == cell


def filled(of: Any, name: str = "") -> Any:
    """A value of this type that is like no other."""
    origin, parts = get_origin(of), get_args(of)
    if origin is Annotated:
        return filled(parts[0], name)
    if origin is Literal:
        return parts[0]
    if origin in (Union, UnionType):
        return filled(next(each for each in parts if each is not type(None)), name)
    if origin is list:
        return [filled(parts[0], name)]
    if origin is dict:
        return {"notice_id": f"{name}-value"}
    if isinstance(of, type) and issubclass(of, msgspec.Struct):
        return of(**{each.name: filled(each.type, f"{name}.{each.name}") for each in msgspec.structs.fields(of)})
    return True if of is bool else f"{name}-value"


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    elif isinstance(value, str):
        yield value


def test_csv_has_whatever_json_has() -> None:
    export = SampleExport(
        filled(model.Head, "head"), pages=[[filled(model.HeldDecision, "decision")]], tail=filled(model.Tail, "tail")
    )
    cells = " ".join(cell for row in rows(export) for cell in row.values())
    missing = {each for each in leaves(json.loads(b"".join(files.json_pieces(export)))) if each not in cells}
    # The same system, where the evidence does not name another one.
    assert missing == {"decision.source_system-value"}


def test_csv_has_a_line_for_each_thing() -> None:
    found = rows(SampleExport())
    kinds = [row["record"] for row in found]
    assert kinds.count("decision") == 2
    assert kinds.count("passed_on") == 5
    assert set(kinds) >= {"person", "subject", "address", "current", "purpose", "pause", "request", "recipient"}
    given = next(row for row in found if row["choice"] == "given" and row["record"] == "decision")
    assert (given["address"], given["notice_version"], given["actor"]) == ("ann@example.com", "3", "data-subject")


def names(table: Mapping[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in table.items():
        found |= names(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name}
    return found


def test_every_text_is_there_in_each_language() -> None:
    assert names(phrases.WORDS["en"].texts) == names(phrases.WORDS["fr"].texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_document_shows_all_that_is_held(theme: Theme, language: Language) -> None:
    page = html.render(report.report(SampleExport(), theme, language)).decode()
    for shown in ("ann@example.com", "+33639980001", "customer-4711", "brevo-fr", "sha256:5f5f", "passport seen"):
        assert shown in page, shown
    assert "<script" not in page
    assert "http" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_said_in_the_same_form(theme: Theme, language: Language) -> None:
    page = html.render(report.report(SampleExport(NOTHING), theme, language)).decode()
    assert phrases.WORDS[language]("access.nothing_title") in page
    assert "no-one@example.com" in page
    assert rows(SampleExport(NOTHING))[0]["record"] == "person_not_held"


def test_what_others_wrote_is_text_in_html(theme: Theme) -> None:
    hostile = decision(1, purpose="<b>x</b>")
    page = html.render(report.report(SampleExport(pages=[[hostile]]), theme, "en")).decode()
    assert "<b>x" not in page.lower()


def test_a_document_has_the_newest_of_many_decisions(theme: Theme) -> None:
    many = [[decision(number) for number in range(begin, begin + 300)] for begin in range(0, 900, 300)]
    found = report.report(SampleExport(pages=many), theme, "en")
    [choices] = [each for each in found.sections if each.title == "Your choices"]
    assert len(choices.items) == report.MOST_SHOWN
    assert ("Report number", "order-899") in choices.items[0].lines
    assert "900" in choices.text


def test_no_word_is_wider_than_a_page_of_the_pdf() -> None:
    address = "a" * 64 + "@" + ".".join(["b" * 60] * 3) + ".example"
    broken = pdf.breakable(f"Write to {address} soon")
    assert broken.replace("\u200b", "") == f"Write to {address} soon"
    assert max(map(len, re.split(r"[\s\u200b]", broken))) <= 36
    assert pdf.breakable(f"sha256:{'5f' * 32}") == f"sha256:{'5f' * 32}", "it is copied as it is"


@pytest.mark.parametrize("language", LANGUAGES)
def test_pdf_is_tagged_and_has_its_fonts(theme: Theme, language: Language) -> None:
    hostile = decision(1, purpose='#panic() *x* $y$ [z] 漢字 😀 \\ "')
    found = pdf.render(report.report(SampleExport(HEAD, pages=[[hostile]]), theme, language))
    assert found.startswith(b"%PDF-")
    assert b"/StructTreeRoot" in found
    assert b"/FontFile" in found
