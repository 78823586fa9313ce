"""The whole system, started as `consent-relay up` starts it: a choice reaches the tools, with proof."""

import time
from typing import Any
from uuid import uuid4

import httpx

from consent_contracts import Topics, record_names
from consent_contracts.cloudevents import rfc3339
from consent_service.clock import now_micros
from local_stack.endpoints import Endpoints
from local_stack.stack import Stack
from tests.support.evidence import EVIDENCE
from tests.support.topic_records import records
from tests.support.waiting import until

DELIVERED = ("accepted", "effective")  # effective: the provider says that it applies from now on


def submit(endpoints: Endpoints, **decision: object) -> str:
    answer = httpx.post(
        f"{endpoints.api}/v1/decisions",
        json={"subject_ref": f"customer-{uuid4().hex[:8]}", **decision},
        headers={"Authorization": f"Bearer {endpoints.api_key}", "Idempotency-Key": f'"{uuid4()}"'},
        timeout=30,
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["decision_id"])


def receipts(endpoints: Endpoints, decision_id: str) -> dict[str, str]:
    """Destination to stage."""
    answer = httpx.get(
        f"{endpoints.api}/v1/decisions/{decision_id}/receipts",
        headers={"Authorization": f"Bearer {endpoints.api_key}"},
    )
    return {receipt["destination"]: receipt["stage"] for receipt in answer.json()["receipts"]}


def held_by(endpoints: Endpoints, account: str) -> dict[str, Any]:
    found = httpx.get(f"{endpoints.sandbox_control}/_state/{account}").json()
    return dict(found["states"])


def test_a_withdrawal_reaches_the_tool_the_gate_and_the_proof(system: Stack) -> None:  # R1, R25, R28
    endpoints = system.endpoints
    decision = submit(endpoints, channel="sms", address="06 39 98 00 01", purpose="promotions", status="withdrawn")
    until(lambda: receipts(endpoints, decision).get("twilio-fr") in DELIVERED)
    assert "+33639980001" in held_by(endpoints, "twilio")

    def gate_says() -> Any:
        answer = httpx.post(
            f"{endpoints.gate}/v1/check",
            json={"channel": "sms", "purpose": "promotions", "addresses": ["+33639980001"], "when_stale": "deny"},
            headers={"Authorization": f"Bearer {endpoints.check_key}"},
        )
        return answer.json()["results"][0]

    denied = until(lambda: (found := gate_says())["decision_id"] and found)
    assert denied["permitted"] is False
    assert denied["reason"] == "withdrawn"
    assert denied["decision_id"] == decision


def test_every_destination_of_a_channel_is_informed(system: Stack) -> None:
    endpoints = system.endpoints
    decision = submit(endpoints, channel="email", address="ada@example.com", purpose="newsletter", status="refused")
    both = until(lambda: len(found := receipts(endpoints, decision)) == 2 and found)
    assert set(both) == {"sendgrid-fr", "crm-webhook"}
    assert "ada@example.com" in held_by(endpoints, "sendgrid")
    decision = submit(endpoints, channel="voice", address="+33639980002", purpose="*", status="objected")
    until(lambda: receipts(endpoints, decision).get("genesys-fr") in DELIVERED)


def test_a_permission_ends_at_the_tools_by_itself(system: Stack) -> None:  # R37
    endpoints, number = system.endpoints, "+33639980071"
    ends_at = time.time() + 3
    submit(
        endpoints,
        channel="sms",
        address=number,
        purpose="promotions",
        status="given",
        occurred_at=rfc3339(now_micros() - 3_600_000_000),
        expires_at=rfc3339(int(ends_at * 1_000_000)),
        evidence=EVIDENCE,
    )
    until(lambda: number in held_by(endpoints, "twilio"), seconds=ends_at + 60 - time.time())
    assert time.time() >= ends_at


def test_every_record_says_what_it_is_in_cloudevents_headers(system: Stack) -> None:
    endpoints, topics = system.endpoints, Topics(prefix=system.endpoints.topic_prefix)
    decision = submit(endpoints, channel="sms", address="06 39 98 00 07", purpose="promotions", status="withdrawn")
    until(lambda: receipts(endpoints, decision).get("twilio-fr") in DELIVERED)
    for topic in (topics.changes, topics.suppression("sms"), topics.receipts):
        read = list(records(endpoints.kafka, topic))
        assert read
        for message in read:
            headers = dict(message.headers() or [])
            assert headers["ce_type"] in {f"relay.consent.v1.{name}".encode() for name in record_names(topic)}
            assert {"ce_specversion", "ce_id", "ce_source", "ce_time", "content-type"} <= set(headers)


def test_every_process_serves_its_metrics(system: Stack) -> None:  # R39
    for name, url in system.endpoints.metrics.items():
        page = httpx.get(f"{url}/metrics")
        assert page.status_code == 200, name
        assert "consent_relay_" in page.text, name


def test_the_endpoints_file_is_for_its_owner_alone(system: Stack) -> None:
    file = system.directory / "endpoints.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert Endpoints.read(file).api_key == system.endpoints.api_key
    assert system.endpoints.api_key not in system.endpoints.table()
