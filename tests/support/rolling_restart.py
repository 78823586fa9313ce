"""Every process of a running system, restarted one after the other, while clients go on as a load balancer lets them,
to instances that are ready, and without trying again."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from local_stack.stack import Stack

LOOK_SECONDS = 0.2
"""Between two looks of the load balancer at an instance's /readyz."""
MIN_READY_SECONDS = 1.0
"""For which an instance is ready before the next one is stopped, as minReadySeconds of the kustomize base: else both
may be missing from the load balancer's list between two looks."""
SHUTDOWN_DELAY = {"CONSENT_RELAY_API_SHUTDOWN_DELAY": "2", "CONSENT_RELAY_GATE_SHUTDOWN_DELAY": "2"}
"""Settings: for how long a load balancer may take to notice."""
_SECOND = ("api", "relay", "suppression", "propagator", "gate")
"""What every choice passes on its way to a tool, and what tools ask: two of each, as the kustomize base has them."""
_ORDER = (
    *("gate-2", "gate", "propagator-2", "propagator", "suppression-2", "suppression", "relay-2", "relay"),
    *("ingest", "lag", "status", "api-2", "api"),
)
"""As docs/running.md has it."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One API or gate behind the load balancer."""

    url: str
    ready: str


@dataclass
class Answered:
    """What the clients were answered. `failures`: everything but the status of success, in words."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Call:
    path: str
    status: int
    """Of success."""


DECIDE = Call(path="/v1/decisions", status=201)
CHECK = Call(path="/v1/check", status=200)


def with_second_instances(stack: Stack) -> list[Instance]:
    """Start a second API, relay, merge, propagator and gate, and return both APIs."""
    for kind in _SECOND:
        stack.add_worker(kind)
    return _both(stack, "api", stack.endpoints.api)


def gates(stack: Stack) -> list[Instance]:
    """Both, once `with_second_instances` has started the second."""
    return _both(stack, "gate", stack.endpoints.gate)


def _both(stack: Stack, kind: str, url: str) -> list[Instance]:
    second = f"{kind}-2"
    return [
        Instance(url=url, ready=f"{stack.endpoints.metrics[kind]}/readyz"),
        Instance(url=stack.added_url(second), ready=f"{stack.added_metrics(second)}/readyz"),
    ]


def withdrawals(name: str) -> Iterator[dict[str, Any]]:
    """Of promotions by e-mail, each of another person; `name` is part of the addresses."""
    for number in itertools.count(1):
        address = f"{name}-{number}@example.com"
        yield {"channel": "email", "address": address, "purpose": "promotions", "status": "withdrawn"}


def stop_second_instances(stack: Stack) -> None:
    for kind in _SECOND:
        stack.supervisor.child(f"{kind}-2").stop()


def roll(stack: Stack) -> dict[str, str]:
    """Stop each process by SIGTERM, start it again, and go on once it is ready; how each has ended."""
    ended = {}
    for name in _ORDER:
        child = stack.supervisor.child(name)
        child.stop()
        ended[name] = child.exit_text
        stack.restart(name, seconds=180)
        time.sleep(MIN_READY_SECONDS)
    return ended


@contextmanager
def clients(
    instances: Sequence[Instance], *, api_key: str, bodies: Iterator[dict[str, Any]], rate: float, call: Call = DECIDE
) -> Iterator[Answered]:
    """`rate` calls a second by POST until the block ends; complete once it has ended."""
    stop, answered = threading.Event(), Answered()
    sending = threading.Thread(
        target=lambda: asyncio.run(_send(instances, call, api_key, bodies, rate, stop, answered))
    )
    sending.start()
    try:
        yield answered
    finally:
        stop.set()
        sending.join()


async def _send(
    instances: Sequence[Instance],
    call: Call,
    api_key: str,
    bodies: Iterator[dict[str, Any]],
    rate: float,
    stop: threading.Event,
    answered: Answered,
) -> None:
    loop = asyncio.get_running_loop()
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {api_key}"}, timeout=timeout) as session:
        ready: set[str] = set()
        await asyncio.gather(*(_look(session, each, ready) for each in instances))
        looking = [asyncio.create_task(_go_on_looking(session, each, ready)) for each in instances]
        begin, under_way = loop.time(), []
        turns = itertools.cycle(instances)
        for number in itertools.count():
            await asyncio.sleep(begin + number / rate - loop.time())
            if stop.is_set():
                break
            chosen = next((each.url for each in itertools.islice(turns, len(instances)) if each.url in ready), None)
            if chosen is None:
                answered.failures.append("no instance is ready")
                continue
            under_way.append(asyncio.create_task(_post(session, call, chosen, next(bodies), answered)))
        await asyncio.gather(*under_way)
        for task in looking:
            task.cancel()


async def _go_on_looking(session: aiohttp.ClientSession, instance: Instance, ready: set[str]) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        await _look(session, instance, ready)


async def _look(session: aiohttp.ClientSession, instance: Instance, ready: set[str]) -> None:
    try:
        async with session.get(instance.ready) as answer:
            is_ready = answer.status == 200
    except aiohttp.ClientError:
        is_ready = False
    (ready.add if is_ready else ready.discard)(instance.url)


async def _post(session: aiohttp.ClientSession, call: Call, url: str, body: dict[str, Any], answered: Answered) -> None:
    headers = {"Idempotency-Key": f'"{uuid4()}"'}
    try:
        async with session.post(f"{url}{call.path}", json=body, headers=headers) as answer:
            found = await answer.json()
            if answer.status == call.status:
                answered.answers.append(found)
            else:
                answered.failures.append(f"{url}: HTTP {answer.status}: {found}")
    except (aiohttp.ClientError, TimeoutError) as error:
        answered.failures.append(f"{url}: {type(error).__name__}: {error}")
