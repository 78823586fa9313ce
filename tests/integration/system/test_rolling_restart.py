"""A release is rolled out while people choose and senders ask: no request fails, every process ends in order, each
tool is informed. How long tools wait meanwhile, 5 s at p99 at most, is measured by tests/bench/bench_rolling.py."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from local_stack.stack import Stack
from tests.support.evidence import EVIDENCE
from tests.support.rolling_restart import (
    CHECK,
    clients,
    gates,
    roll,
    stop_second_instances,
    with_second_instances,
    withdrawals,
)
from tests.support.waiting import until

DELIVERED = ("accepted", "effective")
PLACE = {"channel": "email", "purpose": "promotions"}


def test_no_request_fails_while_every_process_is_restarted(system: Stack) -> None:  # R1, R41
    endpoints, name = system.endpoints, f"rolled-{uuid4().hex[:8]}"
    question = permitted_and_refused(system, name)
    instances = with_second_instances(system)
    try:
        until(lambda: all(verdicts(system, each.url, question) == [True, False] for each in gates(system)))
        with (
            clients(instances, api_key=endpoints.api_key, bodies=withdrawals(name), rate=20) as answered,
            clients(
                gates(system),
                api_key=endpoints.check_key,
                bodies=itertools.repeat(question),
                rate=20,
                call=CHECK,
            ) as checked,
        ):
            ended = roll(system)
    finally:
        stop_second_instances(system)
    assert not answered.failures
    assert not checked.failures
    assert set(ended.values()) == {"ended with exit code 0"}, ended
    assert len(answered.answers) > 100
    assert len(checked.answers) > 100
    wrong = [each for each in checked.answers if permitted(each) != [True, False]]
    assert not wrong, wrong[0]
    waiting = {answer["decision_id"] for answer in answered.answers}

    def are_informed() -> bool:
        for decision_id in list(waiting):
            found = httpx.get(
                f"{endpoints.api}/v1/decisions/{decision_id}/receipts",
                headers={"Authorization": f"Bearer {endpoints.api_key}"},
            ).json()["receipts"]
            informed = {each["destination"] for each in found if each["stage"] in DELIVERED}
            if {"sendgrid-fr", "crm-webhook"} - informed:
                return False
            waiting.discard(decision_id)
        return True

    until(are_informed, seconds=120, what="every tool of the channel informed of every withdrawal", every=1.0)


def permitted_and_refused(system: Stack, name: str) -> dict[str, Any]:
    """Record one permission and one refusal; the question about both, in this order."""
    addresses = [f"{name}-permitted@example.com", f"{name}-refused@example.com"]
    now = datetime.now(UTC)
    times = {"occurred_at": now.isoformat(), "expires_at": (now + timedelta(days=30)).isoformat()}
    choices: tuple[dict[str, Any], ...] = (
        {"status": "given", "evidence": EVIDENCE, **times},
        {"status": "withdrawn"},
    )
    for address, choice in zip(addresses, choices, strict=True):
        answer = httpx.post(
            f"{system.endpoints.api}/v1/decisions",
            json={**PLACE, "address": address, **choice},
            headers={"Authorization": f"Bearer {system.endpoints.api_key}", "Idempotency-Key": f'"{uuid4()}"'},
        )
        assert answer.status_code == 201, answer.text
    return {**PLACE, "addresses": addresses, "when_stale": "deny"}


def verdicts(system: Stack, gate: str, question: dict[str, Any]) -> list[bool]:
    """What one gate answers."""
    headers = {"Authorization": f"Bearer {system.endpoints.check_key}"}
    answer = httpx.post(f"{gate}/v1/check", json=question, headers=headers)
    assert answer.status_code == 200, answer.text
    return permitted(answer.json())


def permitted(answer: dict[str, Any]) -> list[bool]:
    return [each["permitted"] for each in answer["results"]]
