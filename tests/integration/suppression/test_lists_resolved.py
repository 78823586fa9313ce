"""Two lanes and resolved timestamps with real workers: who waits, what is stated when, and what is a hole."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from consent_contracts import partition_of
from consent_kafka import clients as kafka_clients
from consent_service.clock import now_micros
from tests.integration.suppression.stage import NOW, SECOND
from tests.integration.suppression.workers import Installation
from tests.support.topic_records import records
from tests.support.truncated_topics import truncate
from tests.support.waiting import until

HOLES = "consent_relay_suppression_holes"
AGE = "consent_relay_suppression_resolved_age_seconds"


def holes(installation: Installation) -> dict[int, str | None]:
    return {partition: content["hole"] for partition, content in installation.read_resolved().items()}


def reach(installation: Installation, name: str, value: int, seconds: float = 20) -> None:
    until(
        lambda: [content[name] for content in installation.read_resolved().values()] == [value] * 4,
        seconds,
        f"{name} is {value} in every partition",
    )


def test_a_new_installation_begins_with_a_hole_that_the_relay_closes(installation: Installation) -> None:
    worker = installation.start("a")
    until(lambda: len(holes(installation)) == 4, 30, "every partition has stated where it is")
    first = holes(installation)
    assert None not in first.values()
    installation.state_resolved(0, 77)
    installation.state_resolved(0, 66, bulk=True, inbound_resolved_at=5)
    installation.flush()
    until(lambda: worker.sample(HOLES, partition="0", scope="all") == 1, 10, "the hole is exported")
    offsets = {"live": 1, "bulk": 1}
    until(
        lambda: [each["offset"] for each in installation.read_resolved()[0]["inputs"]] == list(offsets.values()),
        10,
        "what was stated is read",
    )
    assert installation.read_resolved()[0]["resolved_at"] is None
    assert worker.sample(AGE, partition="0", lane="live") is None
    worker.signal(signal.SIGKILL)
    worker.process.wait(10)
    worker = installation.start("a")
    until(worker.ready, 30, "the worker is ready again")
    installation.close_holes()
    assert {content["hole"] for found in installation.resolved.values() for content in found} - {None} == set(
        first.values()
    )
    installation.state_resolved(0, now_micros())
    installation.flush()
    until(lambda: worker.sample(AGE, partition="0", lane="live") is not None, 10, "the age is exported")
    age = worker.sample(AGE, partition="0", lane="live")
    assert age is not None
    assert 0 <= age < 10
    assert worker.sample(HOLES, partition="0") is None
    assert worker.end() == 0


def test_resolved_follows_while_nothing_is_written_and_the_positions_are_the_lists_own(
    installation: Installation,
) -> None:
    worker = installation.start("a")
    installation.close_holes()
    written = installation.rig.records()
    for turn in range(1, 4):
        for partition in range(4):
            installation.state_resolved(partition, turn, inbound_resolved_at=turn * 10)
            installation.state_resolved(partition, turn * 100, bulk=True, inbound_resolved_at=7)
        installation.flush()
        reach(installation, "resolved_at", turn)
        reach(installation, "bulk_resolved_at", turn * 100)
        reach(installation, "inbound_resolved_at", turn * 10)
    assert installation.rig.records() == written == []
    newest = installation.read_resolved()[1]
    topics = installation.rig.topics
    assert [each["topic"] for each in newest["inputs"]] == [topics.changes, topics.changes_bulk]
    assert [each["topic"] for each in newest["lists"]] == [topics.suppression(name) for name in topics.channels]
    assert len({each["topic_id"] for each in (*newest["inputs"], *newest["lists"])}) == 5
    assert [each["end_offset"] for each in newest["lists"]] == [0, 0, 0]
    assert not list(records(installation.rig.kafka, topics.dead_letters("suppression")))
    assert worker.end() == 0


def test_what_a_worker_states_is_in_the_list_whenever_it_is_killed(installation: Installation) -> None:  # R43
    random = Random(8)
    worker = installation.start("a")
    installation.close_holes()
    rounds: dict[int, set[str]] = {}
    number = 0
    for turn in range(1, 41):
        rounds[turn] = set()
        for _ in range(100):
            number += 1
            rounds[turn].add(f"k1.{number}")
            installation.send(number, bulk=bool(number % 2))
        for partition in range(4):
            installation.state_resolved(partition, turn)
            installation.state_resolved(partition, turn, bulk=True)
        installation.flush()
        if turn % 10 == 0:
            time.sleep(random.random() * 0.5)  # the moment of the kill, not a wait for anything
            worker.signal(signal.SIGKILL)
            worker.process.wait(10)
            worker = installation.start("a")
    until(installation.settled, 60, "every change is merged")
    reach(installation, "resolved_at", 40, 30)
    reach(installation, "bulk_resolved_at", 40, 30)
    offsets = {
        message.key().decode(): message.offset()  # type: ignore[union-attr]
        for message in records(installation.rig.kafka, installation.rig.topics.suppression("sms"))
    }
    for partition, stated in installation.resolved.items():
        for content in stated:
            assert content["written_at"] > 0
            [end] = [each["end_offset"] for each in content["lists"] if each["topic"].endswith("suppression.sms.v1")]
            for name, lane in (("resolved_at", 0), ("bulk_resolved_at", 1)):
                for turn in range(1, (content[name] or 0) + 1):
                    for key in rounds.get(turn, ()):
                        if partition_of(key.encode(), 4) == partition and int(key[3:]) % 2 == lane:
                            assert offsets[key] < end, f"{name} {content[name]} was stated before {key} was in the list"
    assert {content["hole"] for content in installation.read_resolved().values()} == {None}
    assert worker.end() == 0


def test_live_changes_overtake_25_000_bulk_ones(installation: Installation) -> None:  # R1
    bulk, live = 25_000, 50
    for number in range(bulk):
        installation.send(number, bulk=True)
    installation.flush()
    worker = installation.start("a")
    until(worker.ready, 60, "the worker is ready")
    began = time.monotonic()
    for number in range(bulk, bulk + live):
        installation.send(number)
        time.sleep(0.02)  # 50 a second
    installation.flush()
    until(installation.settled, 120, "everything is merged")
    took = time.monotonic() - began
    topics = installation.rig.topics
    sent = {message.key(): message.timestamp()[1] for message in records(installation.rig.kafka, topics.changes)}
    written: dict[Any, int] = {}
    last_bulk = 0
    for message in records(installation.rig.kafka, topics.suppression("sms")):
        at = message.timestamp()[1]
        if message.key() in sent:
            written[message.key()] = at
        else:
            last_bulk = max(last_bulk, at)
    waits = sorted(written[key] - at for key, at in sent.items())
    p99 = waits[math.ceil(0.99 * live) - 1]
    print(f"{bulk} bulk and {live} live changes in {took:.1f} s; live p50 {waits[live // 2]} ms, p99 {p99} ms")
    assert last_bulk > max(written.values()) - 2_000, "the bulk changes were merged before the live ones came"
    assert p99 <= 2_000
    assert worker.sample("consent_relay_suppression_records_total", lane="bulk", outcome="merged") == bulk
    assert worker.end() == 0


def test_a_worker_with_one_of_the_two_topics_opens_nothing_of_the_partition_and_is_not_ready(
    installation: Installation,
) -> None:
    topics = installation.rig.topics
    other: Any = kafka_clients.consumer(
        installation.rig.kafka,
        topics.group("suppression"),
        partition_assignment_strategy="range",
        group_instance_id="only-live",
    )
    other.subscribe([topics.changes])
    worker = installation.start("a")

    def shared() -> bool:
        other.poll(0.2)
        return len(other.assignment()) == 2 and "not opened" in worker.readiness()

    until(shared, 40, "each has two partitions of the live topic")
    theirs = {each.partition for each in other.assignment()}
    for partition in theirs:
        missing = f"assigned {topics.changes_bulk}:{partition} without {topics.changes}:{partition}: not opened"
        assert missing in worker.readiness()

    def merges_the_rest() -> bool:
        other.poll(0.1)
        return worker.merges() == 2

    until(merges_the_rest, 30, "the partitions that are complete are merged")
    other.unsubscribe()
    other.close()
    until(worker.ready, 40, "the worker has all of both topics")
    assert worker.merges() == 4
    assert worker.end() == 0


def test_offsets_of_the_group_that_were_set_to_the_end_skip_nothing(installation: Installation) -> None:
    worker = installation.start("a")
    installation.close_holes()
    installation.send(1)
    installation.flush()
    until(installation.settled, 30, "the first change is merged")
    assert worker.end() == 0
    for number in range(2, 50):
        installation.send(number, bulk=bool(number % 2))
    installation.flush()
    topics = installation.rig.topics
    admin = kafka_clients.admin(installation.rig.kafka)
    ends = [
        TopicPartition(topic, partition, 10_000_000)
        for topic in (topics.changes, topics.changes_bulk)
        for partition in range(4)
    ]
    group = topics.group("suppression")

    def altered() -> bool:
        try:
            [future] = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, ends)]).values()
            return all(each.error is None for each in future.result().topic_partitions)
        except Exception:  # the group still has its member
            return False

    until(altered, 30, "the group's offsets are set")
    worker = installation.start("a")
    until(installation.settled, 40, "what lies below these offsets is merged")
    assert set(holes(installation).values()) == {None}
    assert worker.end() == 0


def test_a_changes_topic_that_was_created_again_is_a_hole_of_its_partitions(installation: Installation) -> None:
    worker = installation.start("a")
    installation.close_holes()
    for partition in range(4):
        installation.state_resolved(partition, 9)
    installation.flush()
    reach(installation, "resolved_at", 9)
    assert worker.end() == 0
    installation.rig.recreate(installation.rig.topics.changes)
    worker = installation.start("a")
    until(lambda: None not in holes(installation).values(), 30, "every partition has a hole")
    assert {content["resolved_at"] for content in installation.read_resolved().values()} == {None}
    installation.send(1)
    for partition in range(4):
        installation.state_resolved(partition, 10)
    installation.flush()
    until(installation.settled, 30, "the new topic is merged from its beginning")
    installation.close_holes()
    reach(installation, "resolved_at", 10)
    assert worker.end() == 0


def created_again(installation: Installation, topic: str) -> None:
    installation.rig.recreate(topic)


def truncated(installation: Installation, topic: str) -> None:
    truncate(installation.rig.kafka, [topic])


@pytest.mark.parametrize("lost", [created_again, truncated])
def test_a_list_that_loses_its_entries_under_a_running_worker_is_a_hole_of_its_channel(
    installation: Installation, lost: Callable[[Installation, str], None]
) -> None:
    worker = installation.start("a")
    installation.close_holes()
    installation.send(1)
    installation.send(1, channel="email")
    installation.flush()
    until(installation.settled, 30, "the changes are merged")
    lost(installation, installation.rig.topics.suppression("email"))
    partition = partition_of(b"k1.1", 4)
    until(
        lambda: set(installation.read_resolved()[partition]["channel_holes"]) == {"email"},
        30,
        "the partition of the entry has a hole of this channel",
    )
    assert set(holes(installation).values()) == {None}
    assert worker.sample(HOLES, partition=str(partition), scope="email") == 1
    installation.send(1, channel="email")  # as the repair publishes it again
    installation.flush()
    topic = installation.rig.topics.suppression("email")
    until(lambda: len(list(records(installation.rig.kafka, topic))) == 1, 30, "the entry is written again")
    installation.close_holes()
    assert worker.end() == 0


def test_a_loss_that_the_relay_reports_is_a_hole(installation: Installation) -> None:
    worker = installation.start("a")
    installation.close_holes()
    installation.state_resolved(2, NOW + SECOND, loss=1)
    installation.flush()
    until(lambda: holes(installation)[2] is not None, 20, "the partition has a hole")
    assert installation.read_resolved()[2]["loss"] == 1
    assert [hole for partition, hole in holes(installation).items() if partition != 2] == [None] * 3
    assert worker.end() == 0
