"""The load: the same people change their minds, round after round, half of them to the other side in each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

import httpx

from local_stack.endpoints import Endpoints
from tests.bench.load import PURPOSE, Place, Sent, submit, withdrawal
from tests.bench.sandbox_client import SandboxClient
from tests.support.evidence import EVIDENCE

ACCOUNT = "webhook/own"
ROUND_SECONDS = 20.0
REST_SECONDS = 3.0
"""After each round, without a request: what is held then is held for no request."""
PATIENCE_SECONDS = 120.0
TABLE_ROWS, BATCH = 50_000, 1_000
FILL_SECONDS = 600.0
PROMISE_SECONDS = 5.0
"""Within which a tool has a live withdrawal, at the 99th percentile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """What people waited in one round, seconds."""

    answered: list[float]
    """Sent to answered, of every choice."""
    informed: list[float]
    """Recorded to the tool's call, of the withdrawals."""
    last_call: int
    """The number of the last call that the tool was sent."""


def fill_tables(endpoints: Endpoints, sandbox: SandboxClient) -> int:
    """Import refusals, as many as fill what the processes keep of their tables in memory: rows that were written and
    are not on disk yet, and blocks that were read, both of which grow to a limit. Returns the number of the last call
    once the tool has them all. Raises TimeoutError."""
    headers = {"Authorization": f"Bearer {endpoints.api_key}"}
    with httpx.Client(base_url=endpoints.api, headers=headers, timeout=60) as client:
        for begin in range(0, TABLE_ROWS, BATCH):
            people = range(begin, begin + BATCH)
            body = {"decisions": [withdrawal(Place("email", f"filled-{person}@example.com")) for person in people]}
            while (answer := client.post("/v1/decisions/batch", json=body, headers=_key(begin))).status_code == 429:
                time.sleep(float(answer.headers["Retry-After"]))
            answer.raise_for_status()
    deadline = time.monotonic() + FILL_SECONDS
    while len(sandbox.informed(ACCOUNT)) < TABLE_ROWS:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the tool was not sent {TABLE_ROWS:,} imported refusals within {FILL_SECONDS:.0f} s")
        time.sleep(REST_SECONDS)
    return _last_call(sandbox)


def play(endpoints: Endpoints, sandbox: SandboxClient, *, number: int, rate: float, after: int) -> Round:
    """One round, `after` the call of that number; returns once the tool has every choice. Raises TimeoutError if it has
    not after two minutes."""
    people = range(int(rate * ROUND_SECONDS))
    withdrawing = [person for person in people if (person + number) % 2 == 0]
    bodies = (_body(person, number=number) for person in people)
    sent = submit(endpoints.api, endpoints.api_key, bodies, rate=rate)
    arrived = _arrivals(sandbox, sent, after=after)
    time.sleep(REST_SECONDS)
    withdrawn = [sent[person] for person in withdrawing]
    return Round(
        answered=[(each.answered_at - each.sent_at) / 1e6 for each in sent],
        informed=[(arrived[each.address_key] - each.recorded_at) / 1e6 for each in withdrawn],
        last_call=_last_call(sandbox, after=after),
    )


def _last_call(sandbox: SandboxClient, *, after: int = 0) -> int:
    numbers: list[int] = [call["number"] for call in sandbox.calls(ACCOUNT, after=after)]
    return max(numbers, default=after)


def _key(number: int) -> dict[str, str]:
    return {"Idempotency-Key": f'"filled-{number}"'}


def percentile(seconds: Sequence[float], percent: int) -> float:
    return quantiles(seconds, n=100)[percent - 1]


def _body(person: int, *, number: int) -> dict[str, Any]:
    place = Place("email", f"soak-{person}@example.com")
    if (person + number) % 2 == 0:
        return withdrawal(place)
    now = datetime.now(UTC)
    return {
        "channel": place.channel,
        "address": place.address,
        "subject_ref": f"soak-{person}",
        "purpose": PURPOSE,
        "status": "given",
        "occurred_at": now.isoformat(),
        "expires_at": (now + timedelta(days=3_000)).isoformat(),
        "evidence": EVIDENCE,
    }


def _arrivals(sandbox: SandboxClient, sent: Sequence[Sent], *, after: int) -> dict[str, int]:
    """By address key, when the last call about it arrived (micros), once there has been one since it was recorded."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        calls = sandbox.pushes(ACCOUNT, after=after)
        arrived = {call["addresses"][0]: int(call["arrived_at"]) for call in calls if call["status"] == 204}
        missing = [each for each in sent if arrived.get(each.address_key, 0) < each.recorded_at]
        if not missing:
            return arrived
        if time.monotonic() > deadline:
            raise TimeoutError(f"the tool has not been informed of {len(missing)} of {len(sent)} choices")
        time.sleep(0.5)
