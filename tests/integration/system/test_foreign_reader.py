"""The Python reader of docs/reading-the-list.md, run as it is shown, without any of our packages (R24)."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from consent_contracts import Topics, partition_of
from consent_kafka import clients
from consent_privacy.keyring import Keyring
from local_stack.demo.upstreams import EVIDENCE
from local_stack.endpoints import Endpoints
from local_stack.stack import Stack
from tests.support.shown_readers import run_python_reader
from tests.support.waiting import until

ADDRESS = "reader@example.com"
PARTITIONS = 4
RUNS = 5
ANSWERS = {"newsletter": "True", "survey": "False", "promotions": "False"}


@pytest.fixture(scope="module")
def address_key(system: Stack) -> str:
    """An address with one purpose permitted, one refused and no decision on the third, on the list."""
    endpoints = system.endpoints
    key = Keyring.load(Path(endpoints.keyring_file)).address_key(endpoints.tenant, "email", ADDRESS)
    given = {
        "status": "given",
        "occurred_at": "2026-01-05T10:00:00Z",
        "expires_at": "2028-01-05T10:00:00Z",
        "evidence": EVIDENCE,
    }
    _submit(endpoints, purpose="newsletter", **given)
    until(lambda: _gate_says(endpoints, "newsletter") is True)
    producer = clients.producer(endpoints.kafka)
    producer.produce(Topics(prefix=endpoints.topic_prefix).suppression("email"), None, erased_beside(key).encode())
    assert producer.flush(10) == 0
    # After it in its partition, so that a reader who has the newest entries has met the erased one.
    _submit(endpoints, purpose="survey", status="withdrawn")
    until(lambda: _gate_says(endpoints, "survey") is False)
    return key


def erased_beside(address_key: str) -> str:
    """The key of an erased address in the same partition."""
    wanted = partition_of(address_key.encode(), PARTITIONS)
    return next(key for n in count() if partition_of((key := f"h1.erased{n}").encode(), PARTITIONS) == wanted)


@pytest.mark.parametrize(("purpose", "answer"), ANSWERS.items())
def test_the_documentation_shows_how_to_read_the_list(  # R24
    system: Stack, address_key: str, purpose: str, answer: str, tmp_path: Path
) -> None:
    endpoints = system.endpoints
    topic = Topics(prefix=endpoints.topic_prefix).suppression("email")
    # It answers no where the list did not become current while it ran, which a busy machine may do to one run.
    for _ in range(RUNS):
        last = run_python_reader(
            tmp_path, kafka=endpoints.kafka, registry=endpoints.registry, topic=topic, purpose=purpose
        )
        if last[address_key] == answer:
            break
    assert last[address_key] == answer
    assert last[erased_beside(address_key)] == "False"


def _submit(endpoints: Endpoints, **decision: Any) -> None:
    body = {"subject_ref": "reader-1", "channel": "email", "address": ADDRESS, **decision}
    headers = {"Authorization": f"Bearer {endpoints.api_key}", "Idempotency-Key": f'"{uuid4()}"'}
    httpx.post(f"{endpoints.api}/v1/decisions", json=body, headers=headers, timeout=30).raise_for_status()


def _gate_says(endpoints: Endpoints, purpose: str) -> bool | None:
    """None where no decision is known yet."""
    answer = httpx.post(
        f"{endpoints.gate}/v1/check",
        json={"channel": "email", "purpose": purpose, "addresses": [ADDRESS], "when_stale": "deny"},
        headers={"Authorization": f"Bearer {endpoints.check_key}"},
        timeout=30,
    )
    answer.raise_for_status()
    found = answer.json()["results"][0]
    return bool(found["permitted"]) if found["decision_id"] else None
