"""The gate as a process: its health is true, it drains, and it does not start on wrong settings (R41)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from consent_client import registers
from consent_client.registers import RegisterLimit
from consent_contracts.partitioner import partition_of
from consent_contracts.topics import Topics
from consent_http import api_keys
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import add_hash_key, export
from consent_service.clock import now_micros
from local_stack.ports import free_port
from tests.integration.gate.entries import Entries, decision
from tests.integration.proxy import Proxy
from tests.support.list_resolved import PARTITIONS, ResolvedWriter
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("resolving")

PHONE = "+33639980001"


class GateProcess:
    """`consent-relay gate` with settings of its own."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.token, key = api_keys.mint(tenant="acme", scopes=["check"])
        keys_file = directory / "gate-keys.json"
        api_keys.write(keys_file, [key])
        self.port, self.metrics_port = free_port(), free_port()
        self.log = directory / "gate.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_RELAY_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "consent_service", "gate"],
                env={
                    **clean,
                    "CONSENT_RELAY_GATE_PORT": str(self.port),
                    "CONSENT_RELAY_GATE_KEYS_FILE": str(keys_file),
                    "CONSENT_RELAY_METRICS_PORT": str(self.metrics_port),
                    "CONSENT_RELAY_GATE_SHUTDOWN_DELAY": "0",
                    **environment,
                },
                stderr=log,
            )

    def page(self, path: str) -> httpx.Response | None:
        try:
            return httpx.get(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=5)
        except httpx.HTTPError:
            return None

    def state(self) -> str:
        """The text of /readyz; empty when there is none."""
        answer = self.page("/readyz")
        return "" if answer is None else answer.text

    def ready(self) -> bool:
        answer = self.page("/readyz")
        return answer is not None and answer.status_code == 200

    def ask(self, purpose: str, *, when_stale: str) -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{self.port}/v1/check",
            json={"channel": "sms", "purpose": purpose, "addresses": [PHONE], "when_stale": when_stale},
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=10,
        )

    def reason(self, *, purpose: str = "newsletter") -> str:
        answer = self.ask(purpose, when_stale="deny")
        result = answer.json()["results"][0]
        assert result["permitted"] == (result["reason"] == "given")
        assert result["valid_until"]
        return str(result["reason"])


@pytest.fixture
def environment(kafka: str, registry_url: str, topics: Topics, keyring_file: Path) -> dict[str, str]:
    return {
        "CONSENT_RELAY_KAFKA": kafka,
        "CONSENT_RELAY_REGISTRY": registry_url,
        "CONSENT_RELAY_TOPIC_PREFIX": topics.prefix,
        "CONSENT_RELAY_KEYRING_FILE": str(keyring_file),
        "CONSENT_RELAY_GATE_STALE_AFTER": "2",
    }


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., GateProcess]]:
    started: list[GateProcess] = []

    def start_(**overrides: str) -> GateProcess:
        started.append(GateProcess(tmp_path, {**environment, **overrides}))
        return started[-1]

    yield start_
    for gate in started:
        gate.process.kill()
        gate.process.wait()


def test_it_becomes_ready_answers_and_ends_cleanly(start: Callable[..., GateProcess], entries: Entries) -> None:  # R41
    entries.write("sms", PHONE, decision())
    gate = start()
    until(gate.ready, 60)
    assert gate.reason() == "given"
    metrics = gate.page("/metrics")
    assert metrics is not None
    assert 'consent_relay_gate_view_usable{channel="voice"} 1.0' in metrics.text
    gate.process.send_signal(signal.SIGTERM)
    assert gate.process.wait(20) == 0
    for line in gate.log.read_text().splitlines():
        assert json.loads(line)["service"] == "gate"


def test_hash_keys_are_all_that_it_needs_and_all_that_it_keeps(  # R13
    start: Callable[..., GateProcess], entries: Entries, keyring_file: Path, tmp_path: Path
) -> None:
    export(keyring_file, tmp_path / "hashes.toml", ["acme"], hash_only=True)
    entries.write("sms", PHONE, decision())
    gate = start(CONSENT_RELAY_KEYRING_FILE=str(tmp_path / "hashes.toml"))
    until(gate.ready, 60)
    assert gate.reason() == "given"
    assert "seal keys" not in gate.log.read_text()


def test_a_hash_key_that_it_lacks_is_named_and_taken_from_the_file_while_it_runs(
    start: Callable[..., GateProcess], entries: Entries, keyring_file: Path, tmp_path: Path
) -> None:  # R12, R41
    installations, own = tmp_path / "installation.toml", tmp_path / "hashes.toml"
    installations.write_bytes(keyring_file.read_bytes())
    installations.chmod(0o600)
    export(installations, own, ["acme"], hash_only=True)
    add_hash_key(installations, "acme")
    newer = Keyring.load(installations)
    entries.keyring = Keyring(
        seal_keys=newer.seal_keys, hash_keys={"acme": [replace(newer.hash_keys["acme"][1], primary=True)]}
    )
    entries.write("sms", PHONE, decision())
    gate = start(CONSENT_RELAY_KEYRING_FILE=str(own))
    until(lambda: "h2 of tenant acme" in gate.state(), 60)
    until(gate.ready, 60)  # It answers for the other tenants.
    until(lambda: gate.reason() == "unavailable", 30)  # "stale" until the end of the list has been seen.
    lines = [json.loads(line) for line in gate.log.read_text().splitlines()]
    assert any("until it has the new keyring" in line["message"] and "h2" in str(line) for line in lines)
    own.write_text("[[half a fi")
    until(lambda: "secret keyring" in gate.state(), 60)
    assert gate.ready()
    assert gate.reason() == "unavailable"
    own.unlink()
    export(installations, own, ["acme"], hash_only=True)
    until(lambda: gate.reason() == "given", 60)
    until(lambda: gate.state() == "ok\n", 60)


def test_a_register_that_is_too_old_denies_its_purposes_until_the_gate_has_a_newer_one(
    start: Callable[..., GateProcess], entries: Entries, tmp_path: Path
) -> None:  # R22
    def export_until(stale_at: int) -> None:
        limit = RegisterLimit(name="tps", tenant="acme", channels=("sms",), purposes=("newsletter",), stale_at=stale_at)
        registers.write(path, [limit])

    path = tmp_path / "registers.json"
    export_until(now_micros() + 3_600_000_000)
    entries.write("sms", PHONE, decision(), decision("survey"))
    gate = start(CONSENT_RELAY_GATE_REGISTERS_FILE=str(path))
    until(gate.ready, 60)
    until(lambda: gate.reason() == "given", 30)
    export_until(now_micros())
    until(lambda: gate.reason() == "stale", 30)
    assert gate.reason(purpose="survey") == "given"
    refused = gate.ask("newsletter", when_stale="refuse")
    assert refused.status_code == 503
    assert "the register tps is older than it may be" in refused.json()["detail"]
    assert gate.ready()  # It answers for all else.
    metrics = gate.page("/metrics")
    assert metrics is not None
    assert 'consent_relay_gate_register_stale_at_timestamp_seconds{register="tps"} 1.' in metrics.text
    path.write_text("half a f")
    until(lambda: "secret registers" in gate.state(), 30)
    assert gate.reason() == "stale"
    export_until(now_micros() + 3_600_000_000)
    until(lambda: gate.reason() == "given", 30)


def test_without_the_broker_it_is_not_ready_and_denies_then_recovers(
    start: Callable[..., GateProcess], entries: Entries, kafka: str
) -> None:  # R4, R41
    entries.write("sms", PHONE, decision())
    with Proxy(kafka, kafka=True) as proxy:
        gate = start(CONSENT_RELAY_KAFKA=proxy.address)
        until(gate.ready, 60)
        proxy.cut()
        until(lambda: gate.reason() == "stale", 20)
        until(lambda: not gate.ready(), 20)
        alive = gate.page("/healthz")
        assert alive is not None
        assert alive.status_code == 200
        proxy.heal()
        until(lambda: gate.reason() == "given", 40)
        until(gate.ready, 20)
    assert all(json.loads(line) for line in gate.log.read_text().splitlines())


def test_a_frozen_gate_does_not_answer_from_before_its_sleep(
    start: Callable[..., GateProcess], entries: Entries
) -> None:  # R43
    entries.write("sms", PHONE, decision())
    gate = start()
    until(gate.ready, 60)
    gate.process.send_signal(signal.SIGSTOP)
    entries.write("sms", PHONE, decision(status="withdrawn"))
    # Longer than the bound of staleness, which is what makes the answer below certain.
    slept_until = time.monotonic() + 3
    while time.monotonic() < slept_until:
        time.sleep(0.1)
    gate.process.send_signal(signal.SIGCONT)
    assert gate.reason() in ("stale", "withdrawn")
    until(lambda: gate.reason() == "withdrawn")


def test_a_ledger_that_no_longer_reaches_it_is_named_with_its_stage_and_partition(
    start: Callable[..., GateProcess], entries: Entries, resolving: ResolvedWriter
) -> None:  # R63
    address_key = entries.write("sms", PHONE, decision())
    partition = partition_of(address_key.encode(), PARTITIONS)
    gate = start(CONSENT_RELAY_GATE_STALE_AFTER="5")
    until(gate.ready, 60)
    resolving.fields = {partition: {"resolved_at": now_micros()}}
    named = f"view sms: stale: partition {partition} (live decisions may be missing; the relay, the merge or Kafka"
    until(lambda: named in gate.state(), 60)
    assert gate.reason() == "stale"
    metrics = gate.page("/metrics")
    assert metrics is not None
    assert 'consent_relay_gate_view_hindered_partitions{channel="sms",stage="stale"} 1.0' in metrics.text
    assert 'consent_relay_gate_view_usable{channel="sms"} 0.0' in metrics.text
    (age,) = re.findall(r'gate_view_age_seconds\{channel="sms"\} (\S+)', metrics.text)
    assert float(age) > 5
    resolving.fields = {}
    until(gate.ready, 60)
    assert gate.reason() == "given"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONSENT_RELAY_KEYRING_FILE", "/nowhere/keyring.toml"),
        ("CONSENT_RELAY_GATE_KEYS_FILE", "/nowhere/keys.json"),
        ("CONSENT_RELAY_GATE_UNKNOWN", "perhaps"),
        ("CONSENT_RELAY_GATE_STALE_AFTER", "0"),
    ],
)
def test_a_wrong_setting_is_named_and_ends_the_start_with_2(
    start: Callable[..., GateProcess], variable: str, value: str
) -> None:
    gate = start(**{variable: value})
    assert gate.process.wait(30) == 2
    text = gate.log.read_text()
    assert variable in text
    assert "Traceback" not in text
