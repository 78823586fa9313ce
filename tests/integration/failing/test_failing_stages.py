"""A stage dies, hangs or is held up while people withdraw: beyond its limits the gate permits no one of whom it cannot
know, a living process names the stage, and afterwards every answer is right without an operator. # R63"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from tests.integration.failing.failing_system import PARTITIONS, PATIENCE, STALE_SECONDS, Answers, FailingSystem

Fault = Callable[[FailingSystem], AbstractContextManager[None]]
Names = Callable[[FailingSystem], bool]


# What fails


@contextmanager
def killed(name: str, system: FailingSystem) -> Iterator[None]:
    system.kill(name)
    yield
    system.start(name)


@contextmanager
def frozen(name: str, system: FailingSystem) -> Iterator[None]:
    system.stack.pause(name)
    try:
        yield
    finally:
        system.wake(name)


@contextmanager
def statement(sql: str, system: FailingSystem) -> Iterator[None]:
    """A session has carried this out and leaves its transaction open."""
    with system.database() as connection:
        connection.execute(sql, {"topic": system.topics.changes})
        yield


@contextmanager
def locked_rows(system: FailingSystem) -> Iterator[None]:
    """Another session keeps a lock on a row of each partition that is to be published."""
    system.kill("relay")
    for partition in range(PARTITIONS):
        system.withdraw(system.person(partition=partition))
    with system.database() as connection:
        connection.execute("SELECT FROM outbox FOR UPDATE")
        system.start("relay")
        yield


@contextmanager
def foreign_transaction(topic_of: Callable[[Any], str], system: FailingSystem) -> Iterator[None]:
    """A client has written to each partition of a topic, and leaves the transaction open."""
    topic = topic_of(system.topics)
    producer = Producer({"bootstrap.servers": system.endpoints.kafka, "transactional.id": f"foreign-{uuid4()}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(topic, b"not ours", b"foreign", partition)
    assert producer.flush(30) == 0
    try:
        yield
    finally:
        producer.abort_transaction(30)


# Who names it


def age(process: str, name: str, **labels: str) -> Names:
    """A gauge of a living process, in seconds, is beyond the limit, wherever it is oldest."""
    return lambda system: system.metrics(process).greatest(name, **labels) > STALE_SECONDS


def not_ready(process: str, *words: str) -> Names:
    """The health page of a living process is red and has these words."""

    def names(system: FailingSystem) -> bool:
        status, text = system.readiness(process)
        return status not in (0, 200) and all(word in text for word in words)

    return names


def hinders(stage: str) -> Names:
    """The gate counts partitions that it denies, by this stage."""
    name = "consent_relay_gate_view_hindered_partitions"
    return lambda system: system.metrics("gate").total(name, stage=stage) > 0


MERGED = "consent_relay_suppression_resolved_age_seconds"
RELAYED = "consent_relay_resolved_age_seconds"
EVERYWHERE = ("sms", "voice")
NOWHERE: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Case:
    """`hides`: the channels of which, beyond the limits, it is unknown who is permitted; in the others answers go on
    to be right. `by_kafka`: those who withdraw do so by the inbound topic. `names`: each holds sooner or later.
    `seconds`: for how long it lasts at least."""

    name: str
    fault: Fault
    hides: tuple[str, ...] = EVERYWHERE
    by_kafka: bool = False
    seconds: float = STALE_SECONDS
    names: tuple[Names, ...] = ()


def case(name: str, fault: Callable[..., AbstractContextManager[None]], *arguments: Any, **fields: Any) -> Case:
    return Case(name=name, fault=partial(fault, *arguments), **fields)


OUTBOX_ROW = "(topic, partition, key, value, headers, created_at) VALUES (%(topic)s, 0, 'k', 'v', '[]', 1)"
CASES = [
    *(
        case(f"{how.__name__} {name}", how, name, by_kafka=name == "ingest", names=names)
        for name, names in {
            "relay": (age("suppression", MERGED, lane="live"), hinders("stale"), not_ready("gate")),
            "ingest": (age("suppression", MERGED, lane="inbound_live"), hinders("inbound_stale"), not_ready("gate")),
            "suppression": (hinders("stale"), not_ready("gate")),
        }.items()
        for how in (killed, frozen)
    ),
    *(case(f"{how.__name__} propagator", how, "propagator", hides=NOWHERE) for how in (killed, frozen)),
    case(
        "an open transaction that writes the outbox",
        statement,
        f"INSERT INTO outbox {OUTBOX_ROW}",
        seconds=60.0,
        names=(age("relay", RELAYED, lane="live"), not_ready("gate")),
    ),
    case("rows that stay locked", locked_rows, names=(age("relay", RELAYED, lane="live"), not_ready("gate"))),
    case(
        "an open transaction that writes the bulk outbox",
        statement,
        f"INSERT INTO outbox_bulk {OUTBOX_ROW}",
        hides=NOWHERE,
        names=(age("relay", RELAYED, lane="bulk"),),
    ),
    case("an open transaction that has read", statement, "SELECT count(*) FROM decisions", hides=NOWHERE, seconds=60.0),
    *(
        case(f"a foreign transaction on {name}", foreign_transaction, topic_of, **fields)
        for name, topic_of, fields in (
            (
                "a list",
                lambda topics: topics.suppression("sms"),
                {"hides": ("sms",), "names": (hinders("stale"), not_ready("gate"))},
            ),
            ("changes", lambda topics: topics.changes, {"names": (age("suppression", MERGED, lane="live"),)}),
            (
                "inbound",
                lambda topics: topics.inbound,
                {"by_kafka": True, "names": (age("suppression", MERGED, lane="inbound_live"),)},
            ),
        )
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_one_is_permitted_beyond_the_limits_while_a_stage_fails(failing: FailingSystem, case: Case) -> None:
    people = failing.people()
    with case.fault(failing):
        began = time.monotonic()
        for person in people.withdrawing:
            if case.by_kafka:
                failing.withdraw_by_kafka(person)
            else:
                failing.withdraw(person)

        def beyond_the_limits(answers: Answers) -> bool:
            return time.monotonic() > began + case.seconds and all(
                not answers[person].permitted if person.channel in case.hides else failing.is_right(answers[person])
                for person in people
            )

        failing.eventually(
            "beyond the limits answers are as they should be", beyond_the_limits, seconds=case.seconds + PATIENCE
        )
        for number, names in enumerate(case.names):
            failing.eventually(f"a living process names it ({number})", lambda _, names=names: names(failing))
    failing.eventually("answers are right again", failing.are_right)
    failing.eventually("the tool was sent it", lambda _: failing.is_suppressed_at_the_tool(people.withdrawing[0]))


def test_a_row_that_the_broker_refuses_for_good_denies_its_address_alone(failing: FailingSystem) -> None:
    people = failing.people()
    concerned, *others = people
    row = (failing.topics.changes, failing.partition(concerned), failing.address_key(concerned).encode())
    with failing.database() as connection:
        connection.execute(
            "INSERT INTO outbox (topic, partition, key, value, headers, created_at) VALUES (%s, %s, %s, %s, '[]', 1)",
            (*row, os.urandom(2_000_000)),
        )
        connection.commit()
    failing.eventually(
        "it is denied, and no other person",
        lambda answers: (
            not answers[concerned].permitted and all(failing.is_right(answers[person]) for person in others)
        ),
    )
    assert failing.metrics("relay").total("consent_relay_outbox_denials_total", outcome="denied") > 0
    denied_at = time.monotonic()
    failing.eventually("permissions count from then on", lambda _: time.monotonic() > denied_at + 3)
    failing.permit(concerned, begins=0)
    failing.eventually("answers are right again", failing.are_right)
