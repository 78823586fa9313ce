"""What is done to the running system, by name. Each fault returns when it has been healed."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx
from confluent_kafka import Producer

from consent_contracts import Topics
from local_stack.audit.live import audit
from local_stack.destinations import ADDED_DESTINATION
from local_stack.scrape import scrape
from local_stack.stack import Stack
from tests.chaos import again, damage
from tests.chaos.load import Load
from tests.support.recreated_topics import recreate
from tests.support.waiting import until

PROVIDERS = ("twilio", "sendgrid", "genesys", "webhook/crm")
SESSION_SECONDS = 8.0
"""The session timeout of the workers: a frozen one is known to have lost its partitions after it."""
TAKEOVER_SECONDS = 240.0
READY_SECONDS = 180.0
"""For a restart on a machine that has much else to do: the registry alone takes ten seconds on two idle cores."""
FREEZE_WITHDRAWALS = 12
IMPORTED = 600
PARTITIONS = 4
DOWN = "down-webhook"
"""Down for the whole run while live and bulk changes arrive; compared at the end."""
SERVICES = ("api", "relay", "ingest", "suppression", "gate", "propagator", "lag")
SERVERS = ("kafka", "postgresql", "registry")


@dataclass(frozen=True, kw_only=True)
class ChaosContext:
    """What a fault has to do with. ``lasts``: seconds from the blow to the cure; ``say`` takes progress lines."""

    stack: Stack
    load: Load
    rng: random.Random
    lasts: float
    say: Callable[[str], None]


Fault = Callable[[ChaosContext], None]


def kill(*names: str) -> Fault:
    """kill -9, all at once; after a while all are started again at once."""

    def fault(scene: ChaosContext) -> None:
        _kill(scene, names)

    return fault


def kill_several(scene: ChaosContext) -> None:
    """Any two of the services and servers at the same moment, or every service."""
    names = list(SERVICES) if scene.rng.random() < 0.3 else scene.rng.sample((*SERVICES, *SERVERS), 2)
    scene.say(f"    {' and '.join(names)}")
    _kill(scene, sorted(names, key=lambda name: name in SERVICES))


def freeze(kind: str) -> Fault:
    """SIGSTOP a worker until another has taken its work over and delivered newer decisions, then SIGCONT.

    The tools are slow meanwhile, so that the worker is stopped with calls under way.
    """

    def fault(scene: ChaosContext) -> None:
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
            scene.say(f"    {other} has {len(newer)} newer withdrawals to deliver")
            until(
                lambda: _delivered(scene, newer), what=f"{other} delivered newer withdrawals", seconds=TAKEOVER_SECONDS
            )
        finally:
            stack.resume(kind)
        stack.supervisor.await_ready(kind, seconds=READY_SECONDS)
        _end(scene, other)

    return fault


def outage(scene: ChaosContext) -> None:
    """One provider cuts every connection, or answers 503; the others go on."""
    account = scene.rng.choice(PROVIDERS)
    mode = scene.rng.choice(("reset", "unavailable"))
    scene.say(f"    {account}: {mode}")
    outage_of(scene.stack, account, mode)
    time.sleep(2.0 + scene.lasts)
    outage_of(scene.stack, account, "off")


def outage_of(stack: Stack, account: str, mode: str) -> None:
    """`reset`, `unavailable` or `off`."""
    _control(stack, "outage", account, {"mode": mode})


def roll(scene: ChaosContext) -> None:
    """An orderly change of workers: a second one joins, the first is asked to end, and comes back."""
    kind = scene.rng.choice(("suppression", "propagator", "relay", "ingest"))
    scene.say(f"    {kind}")
    other = scene.stack.add_worker(kind)
    _end(scene, kind)
    time.sleep(scene.lasts)
    scene.stack.restart(kind, seconds=READY_SECONDS)
    _end(scene, other)


def everything_again(scene: ChaosContext) -> None:
    """Changes and receipts are repeated and reordered, and one destination is filled again from the list."""
    scene.say(f"    {again.repeat(scene.stack.endpoints, scene.rng)} records, and a higher generation of crm-webhook")
    _begin_fill(scene, "crm-webhook")


def in_fill(strike: Fault) -> Fault:
    """The fault in the middle of a fill of every destination."""

    def fault(scene: ChaosContext) -> None:
        _begin_fill(scene)
        until(lambda: _backlog(scene) > 0, what="a fill has begun", seconds=READY_SECONDS)
        strike(scene)

    return fault


def in_bulk_backlog(strike: Fault) -> Fault:
    """The fault while an import is on its way."""

    def fault(scene: ChaosContext) -> None:
        scene.load.import_historic(IMPORTED)
        strike(scene)

    return fault


def local_state(scene: ChaosContext) -> None:
    """What the propagator keeps on its disk is deleted, truncated or flipped while it is stopped."""
    _end(scene, "propagator")
    how = scene.rng.choice(("deleted", "truncated", "flipped"))
    directory = scene.stack.state_directory("propagator")
    scene.say(f"    {damage.apply(how, directory, scene.rng)}")
    time.sleep(scene.lasts)
    scene.stack.restart("propagator", seconds=READY_SECONDS)


def state_topic_deleted(scene: ChaosContext) -> None:
    """Delivered state is lost in Kafka, with or without the local copy: every destination is filled again."""
    stack = scene.stack
    _end(scene, "propagator")
    with_copy = scene.rng.random() < 0.5
    if not with_copy:
        shutil.rmtree(stack.state_directory("propagator"), ignore_errors=True)
    scene.say(f"    {'with' if with_copy else 'without'} a local copy")
    topics = Topics(prefix=stack.endpoints.topic_prefix)
    state = topics.propagation_state("default")
    recreate(
        kafka=stack.endpoints.kafka,
        registry=stack.endpoints.registry,
        topics=topics,
        names=[state],
        partitions=PARTITIONS,
        seconds=READY_SECONDS,
    )
    stack.restart("propagator", seconds=READY_SECONDS)


def destinations_changed(scene: ChaosContext) -> None:
    """A destination is added to the file, or removed from it, while the propagator is stopped."""
    _end(scene, "propagator")
    added = scene.stack.toggle_destination(ADDED_DESTINATION)
    scene.say(f"    {'added' if added else 'removed'}")
    time.sleep(scene.lasts)
    scene.stack.restart("propagator", seconds=READY_SECONDS)


def foreign_transaction(scene: ChaosContext) -> None:
    """A foreign client leaves a transaction open on one of our topics while the worker that reads it is restarted."""
    topics = Topics(prefix=scene.stack.endpoints.topic_prefix)
    topic, worker = scene.rng.choice(
        (
            (topics.suppression(scene.rng.choice(topics.channels)), "suppression"),
            (topics.suppression(scene.rng.choice(topics.channels)), "propagator"),
            (topics.propagation_state("default"), "propagator"),
            (topics.changes, "suppression"),
            (topics.changes_bulk, "suppression"),
            (topics.resolved, "propagator"),
        )
    )
    scene.say(f"    on {topic}; {worker} is restarted")
    producer = Producer(
        {"bootstrap.servers": scene.stack.endpoints.kafka, "transactional.id": f"foreign-{scene.rng.getrandbits(32)}"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(topic, b"not ours", b"foreign", partition)
    producer.flush(30)
    scene.stack.kill(worker)
    scene.stack.supervisor.child(worker).start()
    time.sleep(3.0 + scene.lasts)
    producer.abort_transaction(30)
    scene.stack.supervisor.await_ready(worker, seconds=READY_SECONDS)


def replicas_fight(scene: ChaosContext) -> None:
    """Two propagators; each is frozen in turn until the other has taken over, and resumed."""
    stack = scene.stack
    other = stack.add_worker("propagator")
    for name in ("propagator", other, "propagator"):
        stack.pause(name)
        time.sleep(SESSION_SECONDS + 1.0)
        newer = scene.load.withdraw(FREEZE_WITHDRAWALS)
        stack.resume(name)
        until(
            lambda newer=newer: _delivered(scene, newer), what="newer withdrawals delivered", seconds=TAKEOVER_SECONDS
        )
    for name in ("propagator", other):
        stack.supervisor.await_ready(name, seconds=READY_SECONDS)
    _end(scene, other)


KINDS: Mapping[str, Fault] = {
    **{f"kill -9 {name}": kill(name) for name in (*SERVICES, *SERVERS)},
    "kill -9 several at once": kill_several,
    "freeze suppression": freeze("suppression"),
    "freeze propagator": freeze("propagator"),
    "outage of a provider": outage,
    "orderly change of workers": roll,
    "everything again": everything_again,
    "kill -9 propagator in a fill": in_fill(kill("propagator")),
    "freeze propagator in a fill": in_fill(freeze("propagator")),
    "kill -9 kafka in a fill": in_fill(kill("kafka")),
    "kill -9 propagator in a bulk backlog": in_bulk_backlog(kill("propagator")),
    "freeze propagator in a bulk backlog": in_bulk_backlog(freeze("propagator")),
    "local state of the propagator": local_state,
    "state topic deleted": state_topic_deleted,
    "destinations file changed": destinations_changed,
    "foreign transaction left open": foreign_transaction,
    "two replicas fight": replicas_fight,
}


def _begin_fill(scene: ChaosContext, *names: str) -> None:
    """A higher generation of these destinations (all, if none is named); the propagator is restarted in order."""
    _end(scene, "propagator")
    scene.stack.raise_generation(*names)
    scene.stack.supervisor.child("propagator").start()


def _backlog(scene: ChaosContext) -> float:
    try:
        samples = scrape(f"{scene.stack.endpoints.metrics['propagator']}/metrics")
    except httpx.HTTPError:
        return 0.0
    return samples.total("consent_relay_propagation_backlog", **{"class": "bulk"})


def _kill(scene: ChaosContext, names: Sequence[str]) -> None:
    for name in names:
        scene.stack.kill(name)
    time.sleep(scene.lasts)
    for name in names:
        scene.stack.supervisor.child(name).start()
    for name in names:
        scene.stack.supervisor.await_ready(name, seconds=READY_SECONDS)


def _end(scene: ChaosContext, name: str) -> None:
    """Ask for an orderly end, and see that it was one."""
    child = scene.stack.supervisor.child(name)
    child.stop()
    assert child.exit_text == "ended with exit code 0", f"{name}, asked to stop, {child.exit_text}\n{child.tail()}"


def _delivered(scene: ChaosContext, places: list[tuple[str, str]]) -> bool:
    """Whether every tool and the gate know all that was decided about these addresses."""
    known = scene.load.book.verdicts()
    findings = audit(scene.stack.endpoints, {place: known[place] for place in places}, but=[DOWN])
    return not findings.differences


def _providers(scene: ChaosContext, what: str, body: object) -> None:
    for account in PROVIDERS:
        _control(scene.stack, what, account, body)


def _control(stack: Stack, what: str, account: str, body: object) -> None:
    answer = httpx.put(f"{stack.endpoints.sandbox_control}/_control/{what}/{account}", json=body, timeout=10)
    answer.raise_for_status()
