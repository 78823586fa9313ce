"""A release is rolled out while people choose: no request fails, every process ends in order, each tool is informed."""

from __future__ import annotations

from uuid import uuid4

import httpx

from local_stack.stack import Stack
from tests.support.rolling_restart import clients, roll, stop_second_instances, with_second_instances, withdrawals
from tests.support.waiting import until

DELIVERED = ("accepted", "effective")


def test_no_request_fails_while_every_process_is_restarted(system: Stack) -> None:  # R1, R41
    endpoints = system.endpoints
    instances = with_second_instances(system)
    try:
        with clients(
            instances, api_key=endpoints.api_key, bodies=withdrawals(f"rolled-{uuid4().hex[:8]}"), rate=20
        ) as answered:
            ended = roll(system)
    finally:
        stop_second_instances(system)
    assert not answered.failures
    assert set(ended.values()) == {"ended with exit code 0"}, ended
    assert len(answered.answers) > 100
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
