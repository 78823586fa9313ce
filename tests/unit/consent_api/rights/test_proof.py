"""The proof of one's own consent: free, durable, also after withdrawal. # R51"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from consent_api.links.theme import Theme
from consent_api.rights import phrases, proof
from consent_api.rights.documents import html, pdf
from consent_api.rights.documents.document import Document
from consent_http.words import LANGUAGES, Language
from tests.support.personal_data import EVIDENCE, HEAD, SampleExport, decision
from tests.support.themes import themes


@pytest.fixture(scope="module")
def theme(tmp_path_factory: pytest.TempPathFactory) -> Theme:
    return themes(tmp_path_factory.mktemp("themes"))["acme"]


def made(export: SampleExport, theme: Theme, language: Language, text: str | None = None) -> Document:
    named = proof.named_notice(EVIDENCE)
    texts = {named: text} if named is not None and text is not None else {}
    return proof.document(proof.given(export), export.head, theme, language, texts=texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_shows_when_what_and_how_and_the_text(theme: Theme, language: Language, tmp_path: Path) -> None:
    found = made(SampleExport(), theme, language, "May we write to you?\nOnce a month.")
    page = html.render(found).decode()
    for shown in ("ann@example.com", "sha256:5f", "web-form", "May we write to you?\nOnce", decision(1).decision_id):
        assert shown in page, shown
    assert decision(2).decision_id not in page
    assert pdf.render(found).startswith(b"%PDF-")


def test_a_permission_that_was_withdrawn_is_proven_too(theme: Theme) -> None:
    ended = msgspec.structs.replace(decision(1), effect="superseded", superseded_since="2026-05-01T10:00:00Z")
    section, retained = made(SampleExport(pages=[[ended]]), theme, "en").sections
    assert [each.title for each in retained.items] == ["Offers and sales – Phone calls"]
    [item] = section.items
    assert item.state == phrases.WORDS["en"]("proof.ended")
    assert dict(item.lines)["No longer in force since"].startswith("May 1, 2026")
    assert "not kept here" in dict(item.lines)["Text that was shown"]


def test_nothing_to_prove_is_said(theme: Theme) -> None:
    without = msgspec.structs.replace(HEAD, retained_proofs=[])
    found = made(SampleExport(without, pages=[[decision(1, status="withdrawn")]]), theme, "fr")
    assert found.sections == []
    assert found.lead == phrases.WORDS["fr"]("proof.nothing", name=theme.name)
