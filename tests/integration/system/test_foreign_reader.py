"""The README's Python snippet, run as it stands by somebody who has nothing of ours (R24)."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from consent_contracts import Topics
from consent_runtime import kafka
from consent_runtime.keyring import Keyring
from local_stack.demo.upstreams import EVIDENCE
from local_stack.endpoints import Endpoints
from local_stack.stack import Stack

README = Path(__file__).parents[3] / "README.md"
ADDRESS = "reader@example.com"
ERASED = "h1.erased"
ANSWERS = {"newsletter": "True", "survey": "False", "promotions": "False"}


def snippet() -> str:
    found = [code for code in re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.S) if "Consumer" in code]
    assert len(found) == 1, "README.md is to show one consumer in Python"
    return str(found[0])


@pytest.fixture(scope="module")
def address_key(system: Stack) -> str:
    """An address with one purpose permitted, one refused and no decision on the third, on the list."""
    endpoints = system.endpoints
    given = {
        "status": "given",
        "occurred_at": "2026-01-05T10:00:00Z",
        "expires_at": "2028-01-05T10:00:00Z",
        "evidence": EVIDENCE,
    }
    _submit(endpoints, purpose="newsletter", **given)
    _submit(endpoints, purpose="survey", status="withdrawn")
    producer = kafka.producer(endpoints.kafka)
    producer.produce(Topics(prefix=endpoints.topic_prefix).suppression("email"), None, ERASED.encode())
    assert producer.flush(10) == 0
    _eventually(lambda: _gate_says(endpoints, "newsletter") is True and _gate_says(endpoints, "survey") is False)
    return Keyring.load(Path(endpoints.keyring_file)).address_key(endpoints.tenant, "email", ADDRESS)


@pytest.mark.parametrize(("purpose", "answer"), ANSWERS.items())
def test_the_readme_shows_how_to_read_the_list(  # R24
    system: Stack, address_key: str, purpose: str, answer: str, tmp_path: Path
) -> None:
    file = tmp_path / "reader.py"
    # As it stands, but for the group: a second run under the same name would begin where the first one ended.
    file.write_text(snippet().replace('"my-tool"', f'"my-tool-{uuid4().hex[:8]}"'))
    endpoints = system.endpoints
    topic = Topics(prefix=endpoints.topic_prefix).suppression("email")
    ended = subprocess.run(
        [sys.executable, "-I", "-W", "error", str(file), endpoints.kafka, endpoints.registry, topic, purpose],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    last = dict(line.split(" ", 1) for line in ended.stdout.splitlines())
    assert last[address_key] == answer
    assert last[ERASED] == "False"


def _submit(endpoints: Endpoints, **decision: Any) -> None:
    body = {"subject_ref": "reader-1", "channel": "email", "address": ADDRESS, **decision}
    headers = {"Authorization": f"Bearer {endpoints.api_key}", "Idempotency-Key": f'"{uuid4()}"'}
    httpx.post(f"{endpoints.api}/v1/decisions", json=body, headers=headers, timeout=30).raise_for_status()


def _gate_says(endpoints: Endpoints, purpose: str) -> bool | None:
    """None where no decision is known yet."""
    answer = httpx.post(
        f"{endpoints.gate}/v1/check",
        json={"channel": "email", "purpose": purpose, "addresses": [ADDRESS]},
        headers={"Authorization": f"Bearer {endpoints.check_key}"},
        timeout=30,
    )
    answer.raise_for_status()
    found = answer.json()["results"][0]
    return bool(found["permitted"]) if found["decision_id"] else None


def _eventually(look: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "the decisions did not reach the gate"
        time.sleep(0.1)
