"""Relay and merge stage together: holes open, are repaired from the ledger, and close. # R43"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka.admin import AdminClient

from consent_runtime import provision
from tests.integration.flow.house import House, grant, refusal, until


@contextmanager
def merging(house: House) -> Iterator[subprocess.Popen[str]]:
    process = house.command("suppression")
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def newest(house: House) -> dict[int, dict[str, Any]]:
    """The newest ListResolved of each partition."""
    codec, topic = house.codec(), house.topics.resolved
    return {each.partition(): codec.decode(topic, each.value()) for each in house.records(topic)}


def whole(house: House, *, since: int) -> bool:
    """Every partition is without holes and states both lanes, resolved after `since` (microseconds)."""
    found = newest(house)
    return len(found) == 4 and all(
        each["hole"] is None
        and not each["channel_holes"]
        and (each["resolved_at"] or 0) > since
        and (each["bulk_resolved_at"] or 0) > since
        for each in found.values()
    )


def entries(house: House) -> dict[bytes, dict[str, Any]]:
    codec, topic = house.codec(), house.topics.suppression("sms")
    return {each.key(): codec.decode(topic, each.value())["verdicts"] for each in house.records(topic)}


def recreate(house: House, names: list[str]) -> None:
    admin = AdminClient({"bootstrap.servers": house.kafka})
    for deleted in admin.delete_topics(names).values():
        deleted.result()
    until(lambda: not set(names) & admin.list_topics(timeout=5).topics.keys())
    provision.apply(bootstrap=house.kafka, registry=house.registry, topics=house.topics)


def test_a_new_installation_is_whole_at_once(house: House) -> None:
    with house.relay() as relay:
        until(lambda: relay.health.check() == (True, []))
        with merging(house):
            until(lambda: len(newest(house)) == 4)
            began, since = time.monotonic(), time.time_ns() // 1_000
            until(lambda: whole(house, since=since - 2_000_000))
            print(f"whole {time.monotonic() - began:.1f} s after the merge began")
    assert house.ask("SELECT count(*) FROM hole_repairs WHERE repaired_at IS NULL") == 0


def test_a_list_whose_kafka_was_wiped_is_rebuilt_from_the_ledger_without_a_command(house: House) -> None:
    data = []
    for number in range(80):
        data.append(grant(subject_ref=f"person-{number}", address=f"+3363998{number:04d}"))
        if number % 2:
            data.append(refusal(subject_ref=f"person-{number}", address=f"+3363998{number:04d}"))
    house.submit(house.encoded(data))
    with house.relay(), merging(house):
        with house.ingest():
            until(lambda: house.ask("SELECT count(*) FROM decisions") == len(data))
        since = time.time_ns() // 1_000
        until(lambda: whole(house, since=since), seconds=60)
        before = entries(house)
        assert len(before) == 80
    topics = house.topics
    lists = [topics.suppression(channel) for channel in topics.channels]
    recreate(house, [topics.changes, topics.changes_bulk, topics.resolved, *lists])
    since = time.time_ns() // 1_000
    with house.relay(), merging(house):
        until(lambda: whole(house, since=since), seconds=60)
        assert entries(house) == before


def test_a_changes_topic_that_was_lost_alone_opens_holes_that_are_repaired(house: House) -> None:
    house.submit(house.encoded([refusal(address=f"+3363998{number:04d}") for number in range(40)]))
    with house.ingest():
        until(lambda: house.ask("SELECT count(*) FROM decisions") == 40)
    # Published, and lost before it is merged.
    with house.relay():
        until(lambda: house.pending() == 0)
    recreate(house, [house.topics.changes])
    since = time.time_ns() // 1_000
    with house.relay(), merging(house):
        until(lambda: whole(house, since=since), seconds=60)
        assert len(entries(house)) == 40
