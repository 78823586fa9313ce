"""The registry of notices, and what a permission may name of it. # R7 R60"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from click.testing import CliRunner
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from consent_api.domain.validation import EVIDENCE, ValidDecision
from consent_api.ledger import key_store
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.notices import RequiredNotices, notice_hash
from consent_service.clock import now_micros
from tests.support.evidence import EVIDENCE as SOME_EVIDENCE

TEXT = "Offres et soldes\nPouvons-nous vous écrire ?"
NOTICE = {"notice_id": "signup", "version": "2026-03", "language": "fr-FR", "title": "Offres", "text": TEXT}


def grant(client: TestClient, **evidence: str) -> Any:
    body = {
        "channel": "email",
        "purpose": "promotions",
        "status": "given",
        "address": "someone@example.com",
        "occurred_at": "2026-01-05T10:00:00Z",
        "expires_at": "2999-01-05T10:00:00Z",
        "evidence": {**{name: f"some {name}" for name in EVIDENCE}, **evidence},
    }
    return client.post("/v1/decisions", json=body, headers={"Idempotency-Key": str(uuid4())})


def test_a_version_is_registered_once_and_never_changes(client: TestClient, owner_engine: Engine) -> None:
    first = client.post("/v1/notices", json={**NOTICE, "valid_from": "2026-03-01T00:00:00Z"})
    assert first.status_code == 201, first.text
    assert first.json()["hash"] == notice_hash(TEXT)
    again = client.post("/v1/notices", json={**NOTICE, "valid_from": "2026-03-01T00:00:00Z"})
    assert (again.status_code, again.json()) == (200, first.json())
    for change in ({"text": TEXT + "."}, {"title": "Soldes"}, {}):
        answer = client.post("/v1/notices", json={**NOTICE, **change})
        assert answer.status_code == 409, change
        assert answer.json()["type"].endswith(":notice-changed")
    with owner_engine.begin() as connection:
        audited = connection.execute(
            text("SELECT tenant, who, object_id FROM audit_entries WHERE act = 'notice_registered'")
        )
        [(tenant, who, named)] = audited.all()
    assert (tenant, named) == ("acme", "signup 2026-03 fr-fr"), "once, and not for what was refused"
    assert who.startswith("key:")
    found = client.get("/v1/notices/signup/2026-03/FR-fr")
    assert (found.status_code, found.json()["text"]) == (200, TEXT)
    assert client.get("/v1/notices/signup/2026-04/fr").status_code == 404
    with owner_engine.begin() as connection:
        other = key_store.create(connection, tenant="acme", scopes=["submit", "read"], name="shop", now=now_micros())
    refused = client.post("/v1/notices", json=NOTICE, headers={"Authorization": f"Bearer {other}"})
    assert refused.status_code == 403


def test_the_list_goes_on_page_by_page(client: TestClient) -> None:
    shot = {"media_type": "image/png", "sha256": "sha256:" + "0" * 64, "place": "s3://proofs/1.png"}
    for number in range(101):
        sent = {**NOTICE, "version": f"v{number:03}", "screenshot": shot}
        assert client.post("/v1/notices", json=sent).status_code == 201
    first = client.get("/v1/notices").json()
    assert first["notices"][0]["screenshot"] == shot
    second = client.get("/v1/notices", params={"after": first["more_after"]}).json()
    versions = [each["version"] for page in (first, second) for each in page["notices"]]
    assert versions == [f"v{number:03}" for number in range(101)]
    assert "more_after" not in second
    assert client.get("/v1/notices", params={"after": "x"}).json() == {"notices": []}


def test_a_permission_names_a_registered_notice_as_it_is(client: TestClient) -> None:
    assert grant(client, notice_id="signup").status_code == 201  # Nothing is registered of it.
    client.post("/v1/notices", json=NOTICE)
    right = {
        "notice_id": "signup",
        "notice_version": "2026-03",
        "notice_language": "fr-FR",
        "notice_hash": notice_hash(TEXT),
    }
    assert grant(client, **right).status_code == 201
    for name, code in (
        ("notice_version", "unknown_notice_version"),
        ("notice_language", "unknown_notice_language"),
        ("notice_hash", "other_notice_hash"),
    ):
        answer = grant(client, **{**right, name: "other"})
        assert answer.status_code == 422
        (fault,) = answer.json()["errors"]
        assert (fault["field"], fault["detail"]) == (f"/evidence/{name}", code)
    assert "2026-03" in grant(client, **{**right, "notice_version": "2026-04"}).json()["cure"]
    withdrawal = {"channel": "email", "purpose": "promotions", "status": "withdrawn", "address": "someone@example.com"}
    body = {**withdrawal, "evidence": {"notice_id": "signup", "notice_version": "none"}}
    answer = client.post("/v1/decisions", json=body, headers={"Idempotency-Key": "w"})
    assert answer.status_code == 201  # A refusal needs no proof.


def test_an_event_that_was_recorded_before_its_notice_is_repeated(ledger: Ledger) -> None:
    now = now_micros()
    given = ValidDecision(
        tenant="acme",
        event_id="e1",
        subject_ref=None,
        address="someone@example.com",
        channel="email",
        purpose="promotions",
        status="given",
        effective_at=now - 10_000_000,
        recorded_at=now,
        expires_at=now + 10**12,
        evidence=SOME_EVIDENCE,
    )
    (first,) = ledger.record([given])
    strict = Ledger(engine=ledger.engine, context=replace(ledger.context, notices=RequiredNotices.REGISTERED))
    (again,) = strict.record([given])
    assert isinstance(first, RecordedDecision)
    assert isinstance(again, RecordedDecision)
    assert again.repeated
    (refused,) = strict.record([replace(given, event_id="e2")])
    assert not isinstance(refused, RecordedDecision)
    (kept,) = strict.record([replace(given, event_id="e3", goes_on=True)])
    assert isinstance(kept, RecordedDecision)


def test_notices_by_command(client: TestClient, service: Any, tmp_path: Any, monkeypatch: Any) -> None:
    from consent_api.cli.notices import notices

    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", service.render_as_string(hide_password=False))
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    (tmp_path / "shot.png").write_bytes(b"picture")
    add = ["add", str(tmp_path / "text.txt"), "--tenant", "acme", "--id", "signup", "--version", "1"]
    add += ["--language", "fr", "--title", "Offres", "--valid-from", "2026-03-01"]
    add += ["--screenshot", str(tmp_path / "shot.png"), "--screenshot-place", "safe 4"]
    runner = CliRunner()
    for said in ("registered", "registered before"):
        result = runner.invoke(notices, add)
        assert (result.exit_code, result.output) == (0, f"{notice_hash(TEXT)}  {said}\n")
    changed = runner.invoke(notices, [*add, "--title", "Soldes"])
    assert changed.exit_code == 1
    assert "never" not in changed.output
    assert "a version of its own" in changed.output
    listed = runner.invoke(notices, ["list", "--tenant", "acme"])
    assert listed.output == f"signup\t1\tfr\t{notice_hash(TEXT)}\tOffres\n"
    one = runner.invoke(notices, ["show", "signup", "1", "fr", "--tenant", "acme"])
    assert one.output == TEXT
    assert client.get("/v1/notices/signup/1/fr").json()["valid_from"] == "2026-03-01T00:00:00Z"
    audited = client.get("/v1/rights/audit", params={"act": "notice_registered"}).json()["entries"]
    assert [each["object_id"] for each in audited] == ["signup 1 fr"]
    assert audited[0]["who"].startswith("operator:")


def test_what_the_page_records_is_in_the_registry(owner_engine: Engine, ledger: Ledger, tmp_path: Any) -> None:
    from consent_api.links.page_notices import PageNotices, notices_of
    from consent_http.words import LANGUAGES
    from tests.support.themes import themes

    of_pages = themes(tmp_path)
    PageNotices(ledger).register_all(of_pages)
    PageNotices(ledger).register_all(of_pages)
    with owner_engine.connect() as connection:
        stored = connection.execute(text("SELECT notice_id, language, sha256 FROM notices WHERE tenant = 'acme'")).all()
    theme, languages = of_pages["acme"], LANGUAGES
    expected = {(each.notice_id, each.language, each.hash) for name in languages for each in notices_of(theme, name)}
    assert {tuple(row) for row in stored} == expected
