"""Two tenants on one installation, whole process (R43): each destination is sent its own tenant's decisions alone."""

from __future__ import annotations

import socket
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.records import entry_to_avro
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from consent_service.clock import now_micros
from propagator.cli.destinations import destinations
from tests.integration.propagator.rig import SECRET, Propagator, Rig
from tests.support.waiting import until

TENANTS = ("acme", "globex")


@pytest.fixture
def keyring_file(tmp_path: Path) -> Path:
    path = tmp_path / "two-tenants.toml"
    generate(path, list(TENANTS))
    return path


@pytest.fixture
def keyring(keyring_file: Path) -> Keyring:
    return Keyring.load(keyring_file)


def declare(rig: Rig) -> None:
    """A webhook of each tenant, with clear addresses and permissions."""
    lines = ["destinations:"]
    for tenant in TENANTS:
        lines += [
            f"  - {{name: crm-{tenant}, tenant: {tenant}, connector: webhook, channel: sms, purposes: same,",
            f"     url: {rig.sandbox.url}/webhook/{tenant}, credentials: {{secret: {{env: WEBHOOK}}}},",
            "     options: {allow_private: true, clear_addresses: true}, push_permissions: true}",
        ]
    rig.destinations.write_text("\n".join(lines) + "\n")


def decide(rig: Rig, tenant: str, number: int, status: str) -> None:
    """The tenant's entry of a person's address, as the merge writes it."""
    now = now_micros()
    address = rig.address(number)
    key = rig.keyring.address_key(tenant, "sms", address)
    decision = Decision(
        decision_id=str(uuid4()),
        subject_ref=f"{tenant}-{number}",
        purpose="newsletter",
        status=status,
        effective_at=now,
        recorded_at=now,
    )
    entry = AddressEntry(
        tenant=tenant,
        channel="sms",
        address_key=key,
        sealed_address=rig.keyring.seal(key, address),
        decisions=(decision,),
    )
    topic = rig.topics.suppression("sms")
    rig.producer.produce(topic, rig.codec.encode(topic, entry_to_avro(entry, now)), key.encode())
    rig.flush()


def held(rig: Rig, tenant: str) -> dict[str, str | None]:
    states = rig.sandbox.state(f"webhook/{tenant}")
    return {address: targets.get("newsletter") for address, targets in states.items()}


def backlog(process: Propagator, tenant: str) -> float:
    """Pushes that the tenant's tool has not taken."""
    return process.metric("propagation_backlog", destination=f"crm-{tenant}")


def listed(process: Propagator) -> list[list[str]]:
    """Name and state of each destination, as `destinations list` prints them."""
    url = f"http://127.0.0.1:{process.port}/metrics"
    result = CliRunner().invoke(destinations, ["list", "--seconds", "0.1", "--metrics", url])
    assert result.exit_code == 0, result.output
    return [line.split()[:2] for line in result.output.splitlines()[1:]]


def test_a_grant_for_one_tenant_lifts_no_objection_of_another(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(rig)
    rig.keep_resolving()
    process = rig.start()
    process.until_active()
    decide(rig, "acme", 1, "objected")
    decide(rig, "globex", 1, "given")
    decide(rig, "acme", 2, "given")
    decide(rig, "globex", 3, "objected")
    own = {
        "acme": {rig.address(1): "suppressed", rig.address(2): "permitted"},
        "globex": {rig.address(1): "permitted", rig.address(3): "suppressed"},
    }
    until(lambda: {tenant: held(rig, tenant) for tenant in TENANTS} == own, what="each tenant's own state")

    verified = [[f"crm-{tenant}", "verified"] for tenant in TENANTS]
    until(lambda: listed(process) == verified, what="each destination in `destinations list`")
    assert process.stop() == 0
    assert {tenant: held(rig, tenant) for tenant in TENANTS} == own
    assert {(each["tenant"], each["destination"]) for each in rig.receipts()} == {
        ("acme", "crm-acme"),
        ("globex", "crm-globex"),
    }


def test_a_wrong_destination_of_one_tenant_stops_no_other(rig: Rig) -> None:  # R45
    declare(rig)
    wrong = rig.destinations.read_text().replace("/webhook/globex, credentials: {secret: {env: WEBHOOK}}", "/x, a: b")
    rig.destinations.write_text(wrong)
    rig.keep_resolving()
    process = rig.start()
    process.until_active()
    decide(rig, "globex", 1, "objected")
    decide(rig, "acme", 1, "objected")
    until(lambda: held(rig, "acme") == {rig.address(1): "suppressed"}, what="acme's own state")
    assert process.metric("wrong_entries", setting="CONSENT_RELAY_PROPAGATOR_DESTINATIONS") == 1
    until(lambda: process.get("/readyz").startswith("ok\n"), what="ready")
    note = process.get("/readyz").splitlines()[1]
    assert note.startswith("CONSENT_RELAY_PROPAGATOR_DESTINATIONS crm-globex: not in use: ")
    assert "destinations[1].a: is not known here" in note
    assert process.stop() == 0

    # Once the entry is right, the tool is sent what it has missed. Its secret comes after the process.
    declare(rig)
    in_file = rig.destinations.read_text().replace(
        "globex, credentials: {secret: {env: WEBHOOK}}", "globex, credentials: {secret: {file: globex-secret}}"
    )
    rig.destinations.write_text(in_file)
    process = rig.start()
    process.until_active()
    assert "crm-globex: not in use" in process.get("/readyz")
    (rig.destinations.parent / "globex-secret").write_text(SECRET)
    until(
        lambda: held(rig, "globex") == {rig.address(1): "suppressed"},
        what="what globex's tool has missed",
        seconds=120,
    )
    until(lambda: process.get("/readyz") == "ok\n", what="ready, without a note")
    assert process.stop() == 0


def test_a_tool_of_one_tenant_that_does_not_answer_slows_no_other(rig: Rig) -> None:  # R45
    """A server that accepts every connection and never answers: each call of acme's takes its whole time-out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        declare(rig)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        rig.destinations.write_text(rig.destinations.read_text().replace(f"{rig.sandbox.url}/webhook/acme", url))
        rig.keep_resolving()
        process = rig.start()
        process.until_active()
        for number in range(1, 201):
            decide(rig, "acme", number, "objected")
        until(lambda: backlog(process, "acme") == 200, what="acme's changes, which wait")
        for number in range(1, 101):
            decide(rig, "globex", number, "objected")
        expected = {rig.address(number): "suppressed" for number in range(1, 101)}
        until(lambda: held(rig, "globex") == expected, what="all of globex's, while acme's wait")
        assert backlog(process, "acme") == 200
        assert {each["tenant"] for each in rig.receipts() if each["stage"] == "accepted"} == {"globex"}
        until(lambda: process.metric("propagation_breaker_open", destination="crm-acme") == 1, what="acme's breaker")
        assert process.metric("propagation_breaker_open", destination="crm-globex") == 0
        assert process.stop() == 0
