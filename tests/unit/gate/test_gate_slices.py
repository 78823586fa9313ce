"""One caller's addresses, however hard they are to read, do not keep another caller waiting (R43, R45)."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consent_client import Answer
from consent_http.api_keys import ApiKey
from consent_http.rate_limits import RateLimits
from suppression.gate import app
from suppression.gate.app import Gate
from suppression.gate.contract import CheckRequest
from suppression.gate.metrics import GateMetrics

ANSWER = Answer(permitted=False, reason="unknown", as_of=None, valid_until=0, valid_until_elapsed=0)


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class View:
    channel = "sms"


class SlowChecker:
    """Takes a millisecond for each address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def check(self, addresses: Sequence[str], purpose: str) -> list[Answer]:
        self._clock.now += 0.001 * len(addresses)
        return [ANSWER] * len(addresses)


def gate_of(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setattr(app, "time", clock)
    gate = object.__new__(Gate)
    gate.__dict__.update(
        _views={"sms": View()},
        _metrics=GateMetrics.on(CollectorRegistry()),
        _limits=RateLimits({}),
        _checkers={(tenant, "sms"): SlowChecker(clock) for tenant in ("acme", "other")},
        _turns=defaultdict(asyncio.Lock),
    )
    return gate


def caller_of(tenant: str) -> ApiKey:
    return ApiKey(id="k", digest="", tenant=tenant, scopes=frozenset({"check"}))


async def test_a_short_question_is_answered_between_slices_of_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    gate, caller = gate_of(clock, monkeypatch), caller_of("acme")
    answered: list[tuple[int, float]] = []

    async def ask(count: int) -> None:
        request: Any = CheckRequest(channel="sms", purpose="news", addresses=["a"] * count)
        answered.append((len(await gate.check(caller, request)), clock.now))

    await asyncio.gather(ask(3_000), ask(1))
    assert [count for count, _ in answered] == [1, 3_000]
    assert answered[0][1] <= 0.1


async def test_many_long_questions_of_a_tenant_hold_up_another_tenant_as_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    gate = gate_of(clock, monkeypatch)
    answered: list[tuple[str, float]] = []

    async def ask(tenant: str, count: int) -> None:
        request: Any = CheckRequest(channel="sms", purpose="news", addresses=["a"] * count)
        await gate.check(caller_of(tenant), request)
        answered.append((tenant, clock.now))

    await asyncio.gather(*(ask("acme", 1_000) for _ in range(64)), ask("other", 100))
    assert answered[0][0] == "other"
    assert answered[0][1] <= 0.5
