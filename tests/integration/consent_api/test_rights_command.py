"""`consent-relay rights`: requests, exports and the audit, for who has no API key."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import URL

from consent_api.cli.rights import rights as command
from consent_api.http import app
from consent_api.ledger.ledger import Ledger
from tests.integration.consent_api.accepted import decision

Run = Callable[..., Result]
A = "+33639980001"


@pytest.fixture
def run(ledger: Ledger, service: URL, keyring_file: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", service.render_as_string(hide_password=False))
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(keyring_file))
    monkeypatch.setattr(app, "connect_ledger", lambda _, **__: ledger)
    return lambda *arguments, typed="": CliRunner().invoke(command, list(arguments), input=typed)


def test_a_request_is_opened_listed_extended_and_resolved(run: Run) -> None:
    identity = ("--identity", "passport seen", "--by", "ada")
    opened = run("open", "--kind", "access", "--channel", "sms", *identity, typed=f"{A}\n")
    assert opened.exit_code == 0, opened.output
    request_id = opened.output.splitlines()[0].removeprefix("request: ")
    assert f"address: {A}" in run("show", request_id).output
    listed = run("list").output
    assert [line.split("\t")[:3] for line in listed.splitlines()] == [[request_id, "access", "open"]]
    assert A not in listed
    assert "extended: many systems" in run("extend", request_id, "--reason", "many systems", "--by", "ada").output
    assert run("resolve", request_id, "--refused", "--by", "ada").exit_code == 1
    assert run("resolve", request_id, "--by", "ada").exit_code == 2
    assert "state: done" in run("resolve", request_id, "--done", "--by", "ada").output
    assert run("resolve", request_id, "--refused", "--reason", "no", "--by", "ada").exit_code == 1
    assert run("list", "--state", "open").output == ""
    acts = [line.split("\t")[1:] for line in run("audit").output.splitlines()]
    assert [act for _, act, _ in acts] == ["request_done", "request_extended", "request_opened"]
    assert {(who.partition(" (")[0], object_id) for who, _, object_id in acts} == {("operator:ada", request_id)}


def test_an_objection_is_recorded_by_the_command(run: Run) -> None:
    arguments = ("--kind", "objection", "--subject-ref", "s1", "--identity", "on the phone", "--by", "ada")
    assert "state: done" in run("open", *arguments).output


def test_an_export_is_a_file_for_its_owner_alone(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    ledger.record([decision("withdrawn", subject_ref="s1", address=A)])
    target = tmp_path / "data.json"
    done = run("export", str(target), "--subject-ref", "s1", "--by", "ada")
    assert done.exit_code == 0, done.output
    assert json.loads(target.read_bytes())["addresses"][0]["address"] == A
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    again = run("export", str(target), "--subject-ref", "s2", "--by", "ada")
    assert again.exit_code == 1
    nothing = run("export", str(target), "--subject-ref", "s2", "--by", "ada", "--format", "pdf", "--replace")
    assert "nothing is held" in nothing.output
    assert target.read_bytes().startswith(b"%PDF-")
    assert run("export", str(tmp_path / "x"), "--by", "ada").exit_code == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data.json"]
