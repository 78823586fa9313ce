"""Kafka loses what the lists are made of, in each way there is: the partitions are denied, filled again from the ledger
and permitted again, all by themselves, and no lost permission or refusal permits. # R43, R63"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consent_contracts import Topics
from tests.integration.failing.failing_system import PARTITIONS, PATIENCE, FailingSystem
from tests.support.truncated_topics import truncate

Damage = Callable[[FailingSystem], None]
TopicsOf = Callable[[Topics], Sequence[str]]


# What is lost


def recreated(topics_of: TopicsOf) -> Damage:
    return lambda system: system.recreate(topics_of(system.topics))


def deleted_records(topics_of: TopicsOf) -> Damage:
    return lambda system: truncate(system.endpoints.kafka, topics_of(system.topics))


def group_at(offset_of: Callable[[tuple[int, int]], int]) -> Damage:
    """The merge's group is set to offsets chosen from the lowest and the highest of each partition."""

    def damage(system: FailingSystem) -> None:
        topics = (system.topics.changes, system.topics.changes_bulk)
        with system.reader() as reader:
            places = [TopicPartition(topic, each) for topic in topics for each in range(PARTITIONS)]
            for place in places:
                place.offset = offset_of(reader.get_watermark_offsets(place, timeout=30))
        group = ConsumerGroupTopicPartitions(system.topics.group("suppression"), places)
        _of_group(system, lambda admin: admin.alter_consumer_group_offsets([group]))

    return damage


def group_deleted(system: FailingSystem) -> None:
    _of_group(system, lambda admin: admin.delete_consumer_groups([system.topics.group("suppression")]))


def _of_group(system: FailingSystem, change: Callable[[AdminClient], Any]) -> None:
    """Repeated until the group has no member any more: its sessions outlive its workers."""
    admin = AdminClient({"bootstrap.servers": system.endpoints.kafka})
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            for changed in change(admin).values():
                changed.result()
            return
        except KafkaException:
            assert time.monotonic() < deadline, "the group is still in use"
            time.sleep(0.2)


def both(*damages: Damage) -> Damage:
    def damage(system: FailingSystem) -> None:
        for each in damages:
            each(system)

    return damage


def changes(topics: Topics) -> list[str]:
    return [topics.changes, topics.changes_bulk]


def a_list(topics: Topics) -> list[str]:
    return [topics.suppression("sms")]


def resolved(topics: Topics) -> list[str]:
    return [topics.resolved]


def everything(topics: Topics) -> list[str]:
    return [spec.name for spec in topics.specs()]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`down`: what is stopped before people withdraw, and started once the damage is done: what was published
    meanwhile is lost unread."""

    name: str
    damage: Damage
    down: tuple[str, ...] = ("suppression",)


CASES = [
    Case(name="changes deleted unread", damage=deleted_records(changes)),
    Case(name="group set to the end", damage=group_at(lambda ends: ends[1])),
    Case(name="group set to the beginning", damage=group_at(lambda ends: ends[0])),
    Case(name="group deleted", damage=group_deleted),
    Case(name="group deleted and its records", damage=both(group_deleted, deleted_records(changes))),
    Case(name="changes topic recreated", damage=recreated(changes)),
    Case(name="changes topic recreated while all run", damage=recreated(changes), down=()),
    Case(name="list truncated", damage=deleted_records(a_list), down=("suppression", "gate")),
    Case(name="list truncated while all run", damage=deleted_records(a_list), down=()),
    Case(name="list recreated", damage=recreated(a_list)),
    Case(name="list recreated while all run", damage=recreated(a_list), down=()),
    Case(name="resolved topic recreated", damage=recreated(resolved)),
    Case(name="resolved topic recreated while all run", damage=recreated(resolved), down=()),
    Case(name="all of kafka wiped", damage=recreated(everything), down=("ingest", "suppression", "gate", "propagator")),
    Case(name="all of kafka wiped while all run", damage=recreated(everything), down=()),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_kafka_has_lost_permits_no_one_and_comes_back(failing: FailingSystem, case: Case) -> None:
    people = failing.people()
    for name in case.down:
        failing.end(name)
    for person in people.withdrawing:
        failing.withdraw(person)
    failing.await_published()
    case.damage(failing)
    for name in case.down:
        failing.start(name)
    failing.eventually("answers are right", failing.are_right)
    # Not in the memory of that gate alone: the entries are in the topics again.
    failing.kill("gate")
    failing.start("gate")
    failing.eventually("answers of another gate are right", failing.are_right)


def test_a_hole_is_named_over_restarts_until_it_is_repaired(failing: FailingSystem) -> None:
    people = failing.people()
    failing.end("suppression")
    read = ends_of_changes(failing)
    for person in people.withdrawing:
        failing.withdraw(person)
    failing.await_published()
    # A partition in which nothing was published since has nothing to lose.
    failing.eventually(
        "the relay publishes in every partition",
        lambda _: all(end > before for end, before in zip(ends_of_changes(failing), read, strict=True)),
    )
    failing.kill("relay")  # who would repair it
    deleted_records(changes)(failing)
    for _ in range(2):
        failing.start("suppression")
        failing.eventually(
            "the merge names the hole",
            lambda _: (
                failing.metrics("suppression").total("consent_relay_suppression_holes", scope="all") == PARTITIONS
            ),
        )
        failing.eventually(
            "no person is permitted", lambda answers: not any(each.permitted for each in answers.values())
        )
        failing.kill("suppression")
    failing.start("suppression")
    failing.start("relay")
    failing.eventually("answers are right", failing.are_right)
    failing.eventually("it is named no more", lambda _: open_holes(failing) == 0)


def ends_of_changes(failing: FailingSystem) -> list[int]:
    """Of each partition of the live changes."""
    with failing.reader() as reader:
        places = [TopicPartition(failing.topics.changes, each) for each in range(PARTITIONS)]
        return [reader.get_watermark_offsets(place, timeout=30)[1] for place in places]


def open_holes(failing: FailingSystem) -> float:
    return failing.metrics("suppression").total("consent_relay_suppression_holes", scope="all")
