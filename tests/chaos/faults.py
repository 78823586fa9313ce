"""What is done to the running system, by name. Each fault returns when it has been healed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from consent_contracts import Topics
from local_stack.stack import Stack
from local_stack.tools import audit
from tests.chaos import again
from tests.chaos.load import Load, eventually
from tests.rewind import rewind

PROVIDERS = ("twilio", "sendgrid", "genesys", "webhook/crm")
SESSION_SECONDS = 8.0
"""The session timeout of the workers: a frozen one is known to have lost its partitions after it."""
TAKEOVER_SECONDS = 60.0
READY_SECONDS = 180.0
"""For a restart on a machine that has much else to do: the registry alone takes ten seconds on two idle cores."""
FREEZE_WITHDRAWALS = 12
SERVICES = ("api", "relay", "ingest", "suppression", "gate", "propagator", "lag")
SERVERS = ("kafka", "postgresql", "registry")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a fault has to do with. ``lasts``: seconds from the blow to the cure; ``say`` takes progress lines."""

    stack: Stack
    load: Load
    rng: random.Random
    lasts: float
    say: Callable[[str], None]


Fault = Callable[[Scene], None]


def kill(*names: str) -> Fault:
    """kill -9, all at once; after a while all are started again at once."""

    def fault(scene: Scene) -> None:
        _kill(scene, names)

    return fault


def kill_several(scene: Scene) -> None:
    """Any two of the services and servers at the same moment, or every service."""
    names = list(SERVICES) if scene.rng.random() < 0.3 else scene.rng.sample((*SERVICES, *SERVERS), 2)
    scene.say(f"    {' and '.join(names)}")
    _kill(scene, sorted(names, key=lambda name: name in SERVICES))


def freeze(kind: str) -> Fault:
    """SIGSTOP a worker until another has taken its work over and told newer decisions, then SIGCONT.

    The tools are slow meanwhile, so that the worker stands still with calls under way.
    """

    def fault(scene: Scene) -> None:
        stack, early = scene.stack, scene.rng.random() < 0.5
        other = stack.add_worker(kind) if early else ""
        _providers(scene, "latency", {"p50_ms": 400, "p99_ms": 900})
        time.sleep(scene.rng.uniform(0.5, 1.5))
        stack.pause(kind)
        try:
            frozen_at = time.monotonic()
            _providers(scene, "latency", {"p50_ms": 10, "p99_ms": 60})
            other = other or stack.add_worker(kind)
            time.sleep(max(0.0, frozen_at + SESSION_SECONDS + 1.0 - time.monotonic()))
            newer = scene.load.withdraw(FREEZE_WITHDRAWALS)
            scene.say(f"    {other} has {len(newer)} newer withdrawals to tell")
            eventually(lambda: _told(scene, newer), f"{other} told newer withdrawals", seconds=TAKEOVER_SECONDS)
        finally:
            stack.resume(kind)
        stack.supervisor.await_ready(kind, seconds=READY_SECONDS)
        _end(scene, other)

    return fault


def outage(scene: Scene) -> None:
    """One provider cuts every connection, or answers 503; the others go on."""
    account = scene.rng.choice(PROVIDERS)
    mode = scene.rng.choice(("reset", "unavailable"))
    scene.say(f"    {account}: {mode}")
    _control(scene, "outage", account, {"mode": mode})
    time.sleep(2.0 + scene.lasts)
    _control(scene, "outage", account, {"mode": "off"})


def roll(scene: Scene) -> None:
    """An orderly change of workers: a second one joins, the first is asked to end, and comes back."""
    kind = scene.rng.choice(("suppression", "propagator", "relay", "ingest"))
    scene.say(f"    {kind}")
    other = scene.stack.add_worker(kind)
    _end(scene, kind)
    time.sleep(scene.lasts)
    scene.stack.restart(kind, seconds=READY_SECONDS)
    _end(scene, other)


def everything_again(scene: Scene) -> None:
    """Changes and receipts are repeated and reordered, and one tool is told all entries from the first."""
    endpoints = scene.stack.endpoints
    scene.say(f"    {again.repeat(endpoints, scene.rng)} records, and every entry for crm-webhook")
    _end(scene, "propagator")
    topics = Topics(prefix=endpoints.topic_prefix)
    group = topics.group("propagator.crm-webhook")
    rewind(endpoints.kafka, group, topics.suppression("email"), seconds=60)
    scene.stack.restart("propagator", seconds=READY_SECONDS)


KINDS: Mapping[str, Fault] = {
    **{f"kill -9 {name}": kill(name) for name in (*SERVICES, *SERVERS)},
    "kill -9 several at once": kill_several,
    "freeze suppression": freeze("suppression"),
    "freeze propagator": freeze("propagator"),
    "outage of a provider": outage,
    "orderly change of workers": roll,
    "everything again": everything_again,
}


def _kill(scene: Scene, names: Sequence[str]) -> None:
    for name in names:
        scene.stack.kill(name)
    time.sleep(scene.lasts)
    for name in names:
        scene.stack.supervisor.child(name).start()
    for name in names:
        scene.stack.supervisor.await_ready(name, seconds=READY_SECONDS)


def _end(scene: Scene, name: str) -> None:
    """Ask for an orderly end, and see that it was one."""
    child = scene.stack.supervisor.child(name)
    child.stop()
    assert child.exit_text == "ended with exit code 0", f"{name}, asked to stop, {child.exit_text}\n{child.tail()}"


def _told(scene: Scene, places: list[tuple[str, str]]) -> bool:
    """Whether every tool and the gate know all that was decided about these addresses."""
    known = scene.load.book.verdicts()
    findings = audit(scene.stack.endpoints, {place: known[place] for place in places})
    return not findings.differences


def _providers(scene: Scene, what: str, body: object) -> None:
    for account in PROVIDERS:
        _control(scene, what, account, body)


def _control(scene: Scene, what: str, account: str, body: object) -> None:
    answer = httpx.put(f"{scene.stack.endpoints.sandbox}/_control/{what}/{account}", json=body, timeout=10)
    answer.raise_for_status()
