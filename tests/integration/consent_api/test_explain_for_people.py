"""Explanations in sentences: by Accept over HTTP, and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from sqlalchemy import URL

from consent_api.cli.explain import explain
from tests.integration.consent_api.test_http_subjects import A, decide

QUESTION = {"channel": "sms", "address": A, "purpose": "newsletter"}


@pytest.mark.parametrize(
    ("accept", "language", "begins"),
    [
        ("text/plain", "", "This address may not be contacted"),
        ("text/plain, */*;q=0.1", "fr-FR,fr;q=0.9,en;q=0.8", "Cette adresse ne peut pas"),
        ("text/plain", "de", "This address may not be contacted"),
        ("application/json, text/plain", "fr", "{"),
        ("*/*", "fr", "{"),
    ],
)
def test_text_is_answered_where_it_is_asked_for(client: TestClient, accept: str, language: str, begins: str) -> None:
    decide(client, "withdrawn", subject_ref="s1", address=A)
    answer = client.post("/v1/explain", json=QUESTION, headers={"Accept": accept, "Accept-Language": language})
    assert answer.status_code == 200
    assert answer.text.startswith(begins)
    assert "639980001" not in answer.text
    if not begins.startswith("{"):
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["content-language"] == ("fr" if language.startswith("fr") else "en")


def test_an_error_is_a_problem_whatever_is_accepted(client: TestClient) -> None:
    answer = client.post("/v1/explain", json={**QUESTION, "channel": "fax"}, headers={"Accept": "text/plain"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_the_command_explains_an_address_that_it_asks_for(
    client: TestClient, service: URL, keyring_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(client, "withdrawn", subject_ref="s1", address=A)
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", service.render_as_string(hide_password=False))
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(keyring_file))
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("CONSENT_RELAY_REGISTRY", "http://127.0.0.1:1")
    words = ["--channel", "sms", "--purpose", "newsletter"]
    said = CliRunner().invoke(explain, [*words, "--language", "fr"], input="06 39 98 00 01\n")
    assert said.exit_code == 0, said.output
    assert "La personne s1 a retiré son consentement pour newsletter par SMS." in said.stdout
    assert len(said.stdout.splitlines()) == 6
    shown = CliRunner().invoke(explain, [*words, "--json"], input=f"{A}\n")
    assert json.loads(shown.stdout)["verdict"]["reason"] == "withdrawn"
    wrong = CliRunner().invoke(explain, words, input="nothing\n")
    assert (wrong.exit_code, "/address" in wrong.output, "Traceback" in wrong.output) == (1, True, False)
