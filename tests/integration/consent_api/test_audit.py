"""Every act of an operator is in the audit: who, on which host, what, and when (R42)."""

from __future__ import annotations

import getpass
import json
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError

from consent_api.ledger import migrate as migration
from consent_api.ledger.ledger import Ledger
from consent_api.rights import audit
from consent_api.rights.audit import Act
from consent_service import acts
from consent_service.cli import cli

Run = Callable[..., str]
OPERATOR = f"operator:{getpass.getuser()} on {platform.node()}"


@pytest.fixture
def run(owner: URL, service: URL, owner_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What a command prints on standard output."""
    for name, url in (("DATABASE", service), ("DATABASE_OWNER", owner)):
        monkeypatch.setenv(f"CONSENT_RELAY_API_{name}", url.render_as_string(hide_password=False))

    def command(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == code, result.output
        return result.stdout

    return command


def listed(run: Run, *options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("audit", "list", *options).splitlines()]


def acts_of(entries: Sequence[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """The oldest first."""
    return [(each["act"], each["object_id"]) for each in reversed(entries)]


def test_keys_are_in_the_audit_from_their_making_to_their_end(run: Run, tmp_path: Path) -> None:
    token = run("keys", "create", "--tenant", "acme", "--scope", "check", "--name", "a@example.com").strip()
    key_id, file = token.split("_")[1], tmp_path / "keys.json"
    run("keys", "export", "--scope", "check", str(file))
    run("keys", "revoke", key_id)
    run("keys", "revoke", key_id, code=1)
    run("keys", "forget-export", platform.node(), str(file))
    entries = listed(run)
    assert acts_of(entries) == [
        ("key_created", key_id),
        ("keys_exported", f"scope check: {file}"),
        ("key_revoked", key_id),
        ("key_export_forgotten", f"{platform.node()}: {file}"),
    ]
    assert {each["who"] for each in entries} == {OPERATOR}
    assert [each["tenant"] for each in reversed(entries)] == ["acme", None, "acme", None]
    assert token not in str(entries)
    assert "example.com" not in str(entries)  # R13


def test_a_keyring_is_in_the_audit_from_its_making_on(run: Run, tmp_path: Path) -> None:
    file, target = tmp_path / "keyring.toml", tmp_path / "gate.toml"
    run("keyring", "generate", str(file), "--tenant", "acme")
    run("keyring", "add-tenant", str(file), "globex")
    run("keyring", "export", str(file), str(target), "--tenant", "acme", "--hash-only")
    for words in ((), ("--tenant", "acme"), ("--tenant", "acme", "--links")):
        run("keyring", "rotate", str(file), *words)
    run("keyring", "promote", str(file), "acme", "l2", "--links")
    run("keyring", "retire", str(file), "acme", "l1", "--links")
    assert acts_of(listed(run)) == [
        ("keyring_generated", f"{file} for acme"),
        ("keyring_tenant_added", str(file)),
        ("keyring_exported", f"hash keys of acme to {target}"),
        ("keyring_key_added", f"seal key in {file}"),
        ("keyring_key_added", f"hash key in {file}"),
        ("keyring_key_added", f"link key in {file}"),
        ("keyring_key_promoted", f"link key l2 in {file}"),
        ("keyring_key_retired", f"link key l1 in {file}"),
    ]
    secrets = [line for line in file.read_text().splitlines() if line.startswith("secret")]
    assert not any(line.split('"')[1] in str(listed(run)) for line in secrets)


def test_a_migration_is_in_the_audit_where_it_changes_something(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("migrate")
    assert listed(run) == []
    monkeypatch.setattr(migration, "migrate", lambda _owner, _service, **_: ("0001", "0002"))
    run("migrate")
    assert acts_of(listed(run)) == [("database_migrated", "from 0001 to 0002")]


def test_other_services_write_by_the_entry_point(run: Run) -> None:
    acts.record("destination_forgotten", object_id="old-tool in propagation.state.default.v1")
    assert acts_of(listed(run)) == [("destination_forgotten", "old-tool in propagation.state.default.v1")]


def test_without_a_database_the_command_says_that_there_is_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONSENT_RELAY_API_DATABASE", raising=False)
    result = CliRunner().invoke(cli, ["keyring", "generate", str(tmp_path / "k.toml"), "--tenant", "acme"])
    assert result.exit_code == 0
    assert "no entry is added to the audit, as CONSENT_RELAY_API_DATABASE is not set" in result.stderr


def test_before_the_first_migration_nothing_is_done(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", database)
    result = CliRunner().invoke(cli, ["keyring", "generate", str(tmp_path / "k.toml"), "--tenant", "acme"])
    assert result.exit_code == 1
    assert "nothing was changed: the database has no current ledger. Run consent-relay migrate" in result.output
    assert not (tmp_path / "k.toml").exists()


def test_where_the_audit_cannot_be_written_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", "postgresql://x:y@127.0.0.1:1/none")
    result = CliRunner().invoke(cli, ["keyring", "generate", str(tmp_path / "k.toml"), "--tenant", "acme"])
    assert result.exit_code == 1
    assert "the audit cannot be written, nothing was changed" in result.output
    assert not (tmp_path / "k.toml").exists()


def entry(ledger: Ledger, *, tenant: str | None, at: int, who: str = "key:k1", act: Act = Act.SIGNED_IN) -> None:
    ledger.transact(lambda c: audit.add(c, tenant=tenant, who=who, act=act, object_id=None, at=at))


def test_the_list_is_filtered_by_tenant_time_actor_and_act(run: Run, ledger: Ledger) -> None:
    day = int(datetime(2026, 11, 26, tzinfo=UTC).timestamp()) * 1_000_000
    hour = 3_600 * 1_000_000
    entry(ledger, tenant="acme", at=day)
    entry(ledger, tenant="globex", at=day + hour, who="operator:ann on host")
    entry(ledger, tenant=None, at=day + 2 * hour, act=Act.TOPICS_APPLIED)
    for number in range(audit.PAGE + 5):
        entry(ledger, tenant="acme", at=day + 3 * hour + number, act=Act.PERSON_VIEWED)
    assert len(listed(run)) == audit.PAGE + 8
    assert len(listed(run, "--tenant", "globex")) == 1
    assert len(listed(run, "--act", "topics_applied")) == 1
    assert len(listed(run, "--who", "operator:ann on host")) == 1
    assert len(listed(run, "--until", "2026-11-26T02:00:00")) == 2
    assert len(listed(run, "--since", "2026-11-26T01:00:00", "--until", "2026-11-26T03:00:00")) == 2
    assert run("audit", "list", "--act", "sabotage", code=2) == ""


def test_the_api_shows_a_tenant_its_own_entries_by_the_same_filters(client: TestClient, ledger: Ledger) -> None:
    now = ledger.now()
    entry(ledger, tenant="acme", at=now)
    entry(ledger, tenant="acme", at=now, act=Act.KEY_REVOKED, who=OPERATOR)
    entry(ledger, tenant="globex", at=now)
    entry(ledger, tenant=None, at=now, act=Act.TOPICS_APPLIED)

    def found(**query: str) -> list[str]:
        answer = client.get("/v1/rights/audit", params=query)
        assert answer.status_code == 200, answer.text
        return [each["act"] for each in answer.json()["entries"]]

    assert found() == ["key_revoked", "signed_in"]
    assert found(act="key_revoked") == found(who=OPERATOR) == ["key_revoked"]
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert found(since=later) == []
    assert len(found(until=later)) == 2
    wrong = client.get("/v1/rights/audit", params={"since": "yesterday"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "since")
    assert client.get("/v1/rights/audit", params={"act": "sabotage"}).status_code == 422


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_entries SET who = 'x'", "DELETE FROM audit_entries", "TRUNCATE audit_entries"],
)
def test_no_service_can_change_the_audit(service: URL, ledger: Ledger, statement: str) -> None:
    entry(ledger, tenant="acme", at=1)
    engine = create_engine(service)
    with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text(statement))
    engine.dispose()
