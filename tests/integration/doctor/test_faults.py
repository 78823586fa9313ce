"""Each fault is made on real servers; doctor names it, with the cure and the exit code, and shows no secret."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from sqlalchemy import make_url

from consent_api.cli.doctor import doctor
from consent_api.ledger.schema_version import REQUIRED_SCHEMA_VERSION
from consent_api.operations.doctor.database import find_in_database
from consent_api.settings import LedgerSettings
from consent_contracts import Codec, subject
from consent_kafka import provisioning
from consent_kafka.topic_admin import TopicAdmin
from consent_service.clock import now_micros
from consent_service.doctor.findings import Result
from consent_service.settings import read
from lag_exporter.doctor import judge_clock, judge_freshness, take_a_look
from lag_exporter.settings import LagSettings
from tests.integration.doctor.rig import Installation, run
from tests.support.certificates import Authority
from tests.support.list_resolved import ResolvedWriter
from tests.support.waiting import until

CLOSED = "127.0.0.1:1"
TEN_SECONDS = 10_000_000


def test_an_installation_that_is_right_has_no_fault(installation: Installation) -> None:
    """Without processes: what they export is missing, which is all."""
    codec = Codec.connect(installation.registry, installation.topics, wait_seconds=10)
    with ResolvedWriter(bootstrap=installation.kafka, codec=codec, topics=installation.topics).running():
        report = run()
    assert report.faults == set(), report.findings
    assert report.code in (0, 1)  # A host of tests may have no NTP client.
    ok = {each["name"] for each in report.findings if each["result"] == "ok"}
    assert ok >= {
        "settings of api",
        "settings of gate",
        "settings of propagator",
        "secret files",
        "state directory",
        "kafka",
        "topics",
        "access of relay",
        "registry",
        "database",
        "database role",
        "clock of the database",
        "outbox",
        "keyring",
        "files of the gate",
        "destinations file",
        "destination crm",
        "lag",
        "freshness of the lists",
        "clock of Kafka",
    }
    assert report.one("settings of migrate")["result"] == "not configured"


def test_topics_that_differ_or_are_missing(installation: Installation) -> None:
    topics = installation.topics
    TopicAdmin(installation.kafka, wait_seconds=10).configure(topics.inbound, {"retention.ms": "1000"})
    admin = AdminClient({"bootstrap.servers": installation.kafka})
    admin.delete_topics([topics.results])[topics.results].result()
    until(lambda: topics.results not in admin.list_topics(timeout=10).topics)
    report = run("--process", "ingest")
    assert report.code == 2
    found = {each["found"]: each["cure"] for each in report.named("topics")}
    assert found == {
        f"{topics.inbound}: retention.ms=1000, wanted retention.ms=259200000": "run: consent-relay topics apply",
        f"{topics.results}: no such topic, wanted one with 4 partitions": "run: consent-relay topics apply",
    }
    provisioning.apply(bootstrap=installation.kafka, registry=installation.registry, topics=topics)
    assert run("--process", "ingest").one("topics")["result"] == "ok"


def test_schemas_that_are_not_registered_or_not_compatible(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = subject(installation.topics.changes, "ConsentChanged")
    with closing(SchemaRegistryClient.new_client({"url": installation.registry})) as registry:
        registry.set_compatibility(changed, "NONE")
        assert run("--process", "ingest").one("registry")["found"] == f"{changed}: NONE, wanted FULL_TRANSITIVE"
        registry.set_compatibility(changed, "FULL_TRANSITIVE")
        prefix = f"{installation.topics.prefix}other."
        taken = f"{prefix}{changed.removeprefix(installation.topics.prefix)}"
        foreign = {"type": "record", "name": "ConsentChanged", "fields": [{"name": "mood", "type": "string"}]}
        registry.register_schema(taken, Schema(json.dumps(foreign), "AVRO"))
        registry.set_compatibility(taken, "FULL_TRANSITIVE")
    monkeypatch.setenv("CONSENT_RELAY_TOPIC_PREFIX", prefix)
    report = run("--process", "ingest")
    assert report.code == 2
    found = {each["found"].partition(": ")[2]: each["cure"] for each in report.named("registry")}
    assert "use the release whose schemas these are" in found["1 other versions, incompatible with ours, wanted ours"]
    assert found["no schema, wanted ours"] == "run: consent-relay topics apply"


def test_a_database_that_is_behind_this_release(installation: Installation) -> None:
    with installation.changed(
        "UPDATE alembic_version SET version_num = '0000'",
        f"UPDATE alembic_version SET version_num = '{REQUIRED_SCHEMA_VERSION}'",
    ):
        report = run("--process", "api")
    assert (report.code, report.faults) == (2, {"database"})
    found = f"its migration is 0000, this release needs {REQUIRED_SCHEMA_VERSION}"
    assert report.one("database")["found"] == found
    assert report.one("database")["cure"] == "run: consent-relay migrate"


def test_a_database_without_a_ledger(installation: Installation) -> None:
    with installation.changed(
        "ALTER TABLE alembic_version RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO alembic_version"
    ):
        report = run("--process", "api")
    assert report.code == 2
    assert report.one("database")["found"] == "it has no ledger, or this role may not read it"


@pytest.mark.parametrize(
    ("change", "undo", "found"),
    [
        (
            "GRANT UPDATE ON decisions TO {role}",
            "REVOKE UPDATE ON decisions FROM {role}",
            "may UPDATE decisions, which",
        ),
        ("GRANT DELETE ON receipts TO PUBLIC", "REVOKE DELETE ON receipts FROM PUBLIC", "may DELETE receipts, which"),
        (
            "GRANT UPDATE (tenant) ON subjects TO {role}",
            "REVOKE UPDATE (tenant) ON subjects FROM {role}",
            "may UPDATE (tenant) subjects, which",
        ),
        ("ALTER ROLE {role} CREATEROLE", "ALTER ROLE {role} NOCREATEROLE", "is CREATEROLE: it could change the record"),
        ("GRANT {owner} TO {role}", "REVOKE {owner} FROM {role}", "has the rights of "),
        ("CREATE SEQUENCE odd; ALTER SEQUENCE odd OWNER TO {role}", "DROP SEQUENCE odd", "owns 1 objects (odd)"),
        ("REVOKE INSERT ON decisions FROM {role}", "GRANT INSERT ON decisions TO {role}", "may not INSERT decisions"),
    ],
)
def test_a_role_that_may_more_or_less_than_it_needs(
    installation: Installation, change: str, undo: str, found: str
) -> None:
    with installation.changed(change, undo):
        report = run("--process", "api")
    assert (report.code, report.faults) == (2, {"database role"})
    named = report.named("database role")
    assert any(each["found"].startswith(f"{installation.role} {found}") for each in named), named
    assert all(each["cure"] for each in named)


def test_a_secret_that_other_users_can_read(installation: Installation) -> None:
    installation.keyring.chmod(0o644)
    report = run("--process", "api")
    assert report.code == 2
    assert report.faults == {"secret files", "keyring", "files of the API", "registers"}
    assert report.one("secret files")["cure"].startswith(f"chmod 600 {installation.keyring}")
    secrets = re.findall(r'secret = "([^"]+)"', installation.keyring.read_text())
    assert secrets
    assert not any(secret in json.dumps(report.findings) for secret in secrets)


def test_a_certificate_that_is_near_its_end(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority of a test lives for a day."""
    authority = Authority.create(installation.directory, "authority")
    url = make_url(read(LedgerSettings).api_database.get_secret_value())
    named = url.update_query_dict({"sslmode": "disable", "sslrootcert": str(authority.file)})
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", named.render_as_string(hide_password=False))
    report = run("--process", "api")
    assert (report.code, report.faults) == (1, set())
    found = report.one("certificates of the database")
    assert found["result"] == "warning"
    assert found["found"] == f"sslrootcert of CONSENT_RELAY_API_DATABASE: {authority.file} ends in 1 days"
    assert found["cure"].startswith("renew it")


def test_a_destination_that_refuses_us(installation: Installation, sandbox_url: str) -> None:
    (installation.directory / "id").write_text("no-such-client")
    (installation.directory / "secret").write_text("not-its-secret-0123456789")
    (installation.directory / "id").chmod(0o600)
    (installation.directory / "secret").chmod(0o640)
    (installation.directory / "destinations.yaml").write_text(
        "destinations:\n  - {name: calls, tenant: acme, connector: genesys, channel: voice,\n"
        f"     url: {sandbox_url}/genesys, options: {{login_url: {sandbox_url}/genesys}},\n"
        "     credentials: {client_id: {file: id}, client_secret: {file: secret}},\n"
        "     purposes: {promotions: 00000000-0000-4000-8000-000000000001}}\n"
    )
    report = run("--process", "propagator")
    assert report.code == 2
    refused = report.one("destination calls")
    assert (refused["result"], refused["found"].partition(": ")[0]) == ("fault", "not verified")
    assert "consent-relay destinations check FILE --verify" in refused["cure"]
    [shown] = [each for each in report.named("credentials of destinations") if each["result"] == "fault"]
    assert shown["cure"].startswith(f"chmod 600 {installation.directory / 'secret'}")
    assert "not-its-secret" not in json.dumps(report.findings)


def test_a_destination_that_takes_no_connection(installation: Installation, tool: socket.socket) -> None:
    assert run("--process", "propagator").one("destination crm")["result"] == "ok"
    tool.close()
    found = run("--process", "propagator").one("destination crm")
    assert (found["result"], found["found"]) == ("fault", "not verified: unreachable: no connection could be made")
    assert found["cure"].startswith("see whether the tool is down")


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[str]:
    """Of the provider sandbox, as a process."""
    command = [sys.executable, "-m", "consent_service", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip().rpartition(" ")[2]
        process.terminate()


@pytest.mark.parametrize("ahead", [TEN_SECONDS, -TEN_SECONDS])
def test_a_clock_here_that_is_wrong(installation: Installation, ahead: int) -> None:
    def clock() -> int:
        return now_micros() + ahead

    side = "later" if ahead > 0 else "earlier"
    by_name = {each.name: each for each in find_in_database(read(LedgerSettings), clock=clock, secret_days=365.0)}
    found = by_name["clock of the database"]
    assert found.result is Result.FAULT
    assert found.found.endswith(f"s {side} than the database's")
    assert found.cure == "synchronise both hosts (NTP)"

    codec = Codec.connect(installation.registry, installation.topics, wait_seconds=10)
    with ResolvedWriter(bootstrap=installation.kafka, codec=codec, topics=installation.topics).running():
        look = take_a_look(read(LagSettings), clock)
    assert judge_clock(look).result is Result.FAULT
    assert judge_clock(look).found.endswith(f"s {'ahead of' if ahead > 0 else 'behind'} Kafka's")


def test_without_a_merge_readers_deny(installation: Installation) -> None:
    """It has published once, and then no more."""
    codec = Codec.connect(installation.registry, installation.topics, wait_seconds=10)
    ResolvedWriter(bootstrap=installation.kafka, codec=codec, topics=installation.topics).write()
    look = take_a_look(read(LagSettings), lambda: now_micros() + 4 * TEN_SECONDS)
    [found] = judge_freshness(look)
    assert found.result is Result.FAULT
    assert re.match(r"lane live: up to 4\d s old; readers deny from 30 s on", found.found)
    assert judge_clock(look).result is Result.NOT_CHECKED


@pytest.mark.parametrize(
    ("setting", "value", "name", "found", "unmade"),
    [
        ("KAFKA", CLOSED, "kafka", f"no broker answers at {CLOSED}", {"topics", "access to Kafka", "lag"}),
        ("REGISTRY", f"http://{CLOSED}", "registry", "the registry does not answer", {"freshness of the lists"}),
        (
            "API_DATABASE",
            f"postgresql://role:a-password@{CLOSED}/ledger",
            "database",
            "the database does not answer",
            set(),
        ),
    ],
)
def test_a_server_that_does_not_answer_is_named_and_the_others_are_checked(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: str,
    name: str,
    found: str,
    unmade: set[str],
) -> None:
    monkeypatch.setenv(f"CONSENT_RELAY_{setting}", value)
    began = time.monotonic()
    report = run()
    assert time.monotonic() - began < 60, "each check has its time"
    assert report.code == 2
    assert report.one(name)["result"] == "fault"
    assert found in report.one(name)["found"]
    assert f"CONSENT_RELAY_{setting}" in report.one(name)["cure"]
    assert {each["name"] for each in report.findings if each["result"] == "not checked"} >= unmade
    others = {"kafka", "registry", "database"} - {name}
    assert {each: report.one(each)["result"] for each in others} == dict.fromkeys(others, "ok")
    assert "a-password" not in json.dumps(report.findings)


def test_a_server_that_takes_connections_and_never_answers(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        for setting, value in {
            "KAFKA": f"{host}:{port}",
            "REGISTRY": f"http://{host}:{port}",
            "API_DATABASE": f"postgresql://role:a-password@{host}:{port}/ledger",
        }.items():
            monkeypatch.setenv(f"CONSENT_RELAY_{setting}", value)
        command = Path(sys.executable).with_name("consent-relay")
        ended = subprocess.run([command, "doctor"], capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == ""
    assert "a-password" not in ended.stdout
    lines = ended.stdout.splitlines()
    for name in ("kafka", "registry", "database"):
        [line] = [each for each in lines if each.startswith(f"{name} ")]
        assert "fault" in line or "not checked" in line


def test_a_process_that_is_named_needs_all_of_its_settings(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONSENT_RELAY_GATE_KEYS_FILE")
    report = run("--process", "gate")
    assert report.code == 2
    assert {each["name"] for each in report.findings if each["name"].startswith("settings of ")} == {"settings of gate"}
    assert report.one("settings of gate")["found"] == "CONSENT_RELAY_GATE_KEYS_FILE: is missing"
    assert not report.named("database")
    unknown = CliRunner().invoke(doctor, ["--process", "gates"])
    assert unknown.exit_code == 2
    assert "gates is none of" in unknown.stderr


def test_settings_that_contradict_what_is_there(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENT_RELAY_PARTITIONS", "5")
    monkeypatch.setenv("CONSENT_RELAY_INGEST_TENANT", "nameless")
    monkeypatch.setenv("CONSENT_RELAY_CODE_WEBHOOK_URL", "https://example.com/codes")
    monkeypatch.setenv("CONSENT_RELAY_METRIC_PORT", "9464")
    report = run("--process", "api", "--process", "ingest")
    assert report.code == 2
    assert report.one("keyring")["found"].endswith("names nameless, who has no hash keys")
    assert report.one("files of the API")["found"].startswith("CONSENT_RELAY_CODE_WEBHOOK_SECRET: set it")
    assert report.one("settings")["cure"] == "unset it, or set CONSENT_RELAY_METRICS_PORT"
    recorded = report.named("partitions in the ledger")
    assert {each["cure"].partition(",")[0] for each in recorded} == {"set CONSENT_RELAY_PARTITIONS=4"}
    assert all(each["found"].endswith("4 partitions, wanted 5") for each in report.named("topics"))


def test_a_terminal_shows_which_checks_are_being_made(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", CLOSED)
    master, terminal = os.openpty()
    command = [Path(sys.executable).with_name("consent-relay"), "doctor", "--process", "lag"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, timeout=90, check=False)
    os.close(terminal)
    shown = os.read(master, 65_536).decode()
    os.close(master)
    assert ended.returncode == 2
    assert re.search(r"\d checks done, \d being made: .*kafka", shown)
    assert b"being made" not in ended.stdout


def test_the_table_shows_each_cure_under_its_fault(installation: Installation) -> None:
    installation.keyring.chmod(0o644)
    ended = CliRunner().invoke(doctor, ["--process", "api"])
    assert ended.exit_code == 2
    lines = ended.stdout.splitlines()
    assert lines[0].split() == ["CHECK", "RESULT", "FOUND"]
    [at] = [number for number, line in enumerate(lines) if line.startswith("secret files ")]
    assert f"-> chmod 600 {installation.keyring}" in " ".join(line.strip() for line in lines[at : at + 5])
    assert re.fullmatch(r"(\d+ [a-z ]+, )*\d+ [a-z ]+", lines[-1])
