"""No process begins over a topic that would not keep what it writes, or not in order (R16, R41)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from consent_http import api_keys
from consent_kafka.topic_admin import TopicAdmin
from local_stack.ports import free_port
from tests.integration.flow.rig import Rig
from tests.integration.proxy import Proxy
from tests.support.one_destination import declare
from tests.support.waiting import until


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """What the gate and the push require besides."""
    keys = tmp_path / "gate-keys.json"
    token, key = api_keys.mint(tenant="acme", scopes=["check"])
    api_keys.write(keys, [key])
    (tmp_path / "token").write_text(token)
    destinations = declare(tmp_path, monkeypatch)
    return {"gate_keys_file": keys, "propagator_destinations": destinations, "gate_token": tmp_path / "token"}


@pytest.mark.parametrize(
    ("command", "topic"),
    [
        ("relay", "consent.changes.v1"),
        ("relay", "consent.changes.bulk.v1"),
        ("ingest", "consent.inbound.bulk.v1"),
        ("ingest", "consent-api.dead-letters.v1"),
        ("suppression", "suppression.voice.v1"),
        ("gate", "suppression.email.v1"),
        ("propagator", "propagation.state.default.v1"),
    ],
)
def test_wrong_settings_are_named_with_the_cure(rig: Rig, files: dict[str, Path], command: str, topic: str) -> None:
    name = f"{rig.topics.prefix}{topic}"
    TopicAdmin(rig.kafka, wait_seconds=10).configure(name, {"cleanup.policy": "compact,delete"})
    said = rig.run_service(command, code=2, **files)
    assert f"{name}: cleanup.policy=compact,delete, wanted cleanup.policy=" in said
    assert "run: consent-relay topics apply" in said


@pytest.mark.parametrize("command", ["relay", "gate", "suppression", "propagator"])
def test_a_wrong_number_of_partitions_is_named(rig: Rig, files: dict[str, Path], command: str) -> None:
    said = rig.run_service(command, code=2, partitions=5, **files)
    assert ": 4 partitions, wanted 5; set CONSENT_RELAY_PARTITIONS=4" in said


def test_a_relay_over_a_wrong_number_of_partitions_notes_none_of_them(rig: Rig) -> None:
    rig.run_service("relay", code=2, partitions=5)
    assert rig.ask("SELECT count(*) FROM relay_partitions") == 0


def test_the_number_of_partitions_never_changes(rig: Rig) -> None:
    with rig.relay():
        until(lambda: rig.ask("SELECT count(*) FROM relay_partitions") == 8)
    with rig.owner.begin() as connection:
        connection.exec_driver_sql("DELETE FROM relay_partitions WHERE partition = 3")
    said = rig.run_service("relay", code=1)
    assert "set CONSENT_RELAY_PARTITIONS=3" in said


def test_a_relay_waits_for_the_broker_before_it_compares(rig: Rig) -> None:
    rig.fill(5)
    with Proxy(rig.kafka, kafka=True) as cable:
        cable.cut()
        port = free_port()
        process = rig.command("relay", kafka=cable.address, partitions=5, metrics_port=port)
        until(lambda: "live-relay: no answer from Kafka" in page(port, "readyz"))
        assert page(port, "healthz") == "ok\n"
        cable.heal()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2, said
    assert f"{rig.topics.changes}: 4 partitions, wanted 5" in said
    assert rig.pending() == 5


def test_a_gate_without_its_broker_says_no_and_waits(rig: Rig, files: dict[str, Path]) -> None:
    with Proxy(rig.kafka, kafka=True) as cable:
        cable.cut()
        port, gate_port = free_port(), free_port()
        given = {"kafka": cable.address, "partitions": 5, "metrics_port": port, "gate_port": gate_port, **files}
        process = rig.command("gate", **given)
        until(lambda: "topics: no answer from Kafka" in page(port, "readyz"))
        check = httpx.post(
            f"http://127.0.0.1:{gate_port}/v1/check",
            json={"channel": "sms", "purpose": "newsletter", "addresses": ["+33639980001"], "when_stale": "deny"},
            headers={"Authorization": f"Bearer {files['gate_token'].read_text()}"},
        )
        assert [each["permitted"] for each in check.json()["results"]] == [False]
        cable.heal()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2, said
    assert f"{rig.topics.suppression('sms')}: 4 partitions, wanted 5" in said


def page(port: int, name: str) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/{name}", timeout=5).text
    except httpx.HTTPError:
        return ""
