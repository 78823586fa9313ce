"""Holes of the suppression list are repaired from the ledger, on real servers. The merge stage is played by the test.

# R43
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay import process
from consent_api.outbox_relay.outbox_table import Row
from consent_api.outbox_relay.publisher import Delivery, OffsetRange, Publisher
from consent_kafka import clients
from consent_kafka.topic_admin import TopicAdmin
from consent_privacy.keyring import Key, Keyring
from consent_service.clock import now_micros
from tests.integration.flow.rig import Rig, Running, grant, refusal
from tests.integration.flow.stuck_partition import STUCK, PublisherWithoutLeader
from tests.support.keyrings import write_keyring
from tests.support.waiting import until


def report(rig: Rig, partition: int, *, hole: str | None = None, offset: int = 0, **channel_holes: str) -> None:
    """What the merge writes to suppression.resolved.v1: an open hole, or none. `offset`: read of the bulk topic."""
    report_all(rig, {partition: hole}, channel_holes=channel_holes, offset=offset)


def report_all(
    rig: Rig, holes: dict[int, str | None], *, channel_holes: dict[str, str] | None = None, offset: int = 0
) -> float:
    """By partition, the id of its hole; when they were reported (epoch seconds)."""
    bulk, topic, codec, producer = (
        rig.topics.changes_bulk,
        rig.topics.resolved,
        rig.codec(),
        clients.producer(rig.kafka),
    )
    topic_id = TopicAdmin(rig.kafka, wait_seconds=10).ids([bulk])[bulk]
    for partition, hole in holes.items():
        datum = {
            "partition": partition,
            "resolved_at": None,
            "bulk_resolved_at": None,
            "inbound_resolved_at": None,
            "loss": 0,
            "lists": [],
            "inputs": [{"topic": bulk, "topic_id": topic_id, "offset": offset}],
            "hole": hole,
            "channel_holes": channel_holes or {},
            "written_at": now_micros(),
        }
        producer.produce(topic, codec.encode(topic, datum), str(partition).encode(), partition=partition)
    assert producer.flush(10) == 0
    return time.time()


def markers(rig: Rig, hole: str) -> list[tuple[int, int]]:
    """Partition and offset of each marker of a hole."""
    return [(p, offset) for p, offset, datum in rig.resolved(Lane.BULK) if datum["repaired"] == hole]


def history(rig: Rig, people: int = 120) -> None:
    """Grants and refusals by SMS and e-mail, published by the live lane."""
    data: list[dict[str, Any]] = []
    for number in range(people):
        person = f"person-{number}"
        data.append(grant(subject_ref=person, address=f"+3363998{number:04d}"))
        if number % 3 == 0:
            data.append(refusal(subject_ref=person, address=None))
        if number % 2 == 0:
            data.append(grant(subject_ref=person, address=f"p{number}@example.com", channel="email"))
    rig.submit(rig.encoded(data))
    with rig.ingest(), rig.relay():
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == len(data))
        until(lambda: rig.pending() == 0)


def event_ids(rig: Rig, records: Iterable[Any], *, topic: str, partition: int, channel: str | None = None) -> set[str]:
    codec = rig.codec()
    data = [codec.decode(topic, each.value()) for each in records if each.partition() == partition]
    return {datum["event_id"] for datum in data if channel is None or datum["channel"] == channel}


def republished(rig: Rig, partition: int) -> set[str]:
    return event_ids(rig, rig.changes(Lane.BULK), topic=rig.topics.changes_bulk, partition=partition)


def published(rig: Rig, partition: int, channel: str | None = None) -> set[str]:
    return event_ids(rig, rig.changes(), topic=rig.topics.changes, partition=partition, channel=channel)


def finished(relay: Running) -> float:
    return relay.metric("consent_relay_hole_repairs_total", outcome="finished")


def test_an_empty_ledger_answers_at_once(rig: Rig) -> None:
    with rig.relay() as relay:
        until(lambda: relay.health.readiness() == (True, []))
        reported_at = report_all(rig, {partition: f"hole-{partition}" for partition in range(4)})
        until(lambda: rig.ask("SELECT count(*) FROM hole_repairs WHERE repaired_at IS NOT NULL") == 4)
        seconds = float(rig.ask("SELECT max(repaired_at) FROM hole_repairs")) / 1e6 - reported_at
        print(f"4 holes closed after {seconds:.2f} s")
        assert seconds < 20, "a bound for a busy machine; a quiet one takes half a second"
        report(rig, 0)
        until(lambda: relay.metric("consent_relay_holes_open") == 3)
    for partition in range(4):
        assert [number for number, _ in markers(rig, f"hole-{partition}")] == [partition]


def test_a_hole_is_filled_in_its_partition_alone_before_its_marker(rig: Rig) -> None:
    history(rig)
    with rig.relay():
        report(rig, 1, hole="one")
        until(lambda: markers(rig, "one"))
    [(partition, end)] = markers(rig, "one")
    assert partition == 1
    assert republished(rig, 1) == published(rig, 1)
    assert all(republished(rig, other) == set() for other in (0, 2, 3))
    assert all(each.offset() < end for each in rig.changes(Lane.BULK))
    codec, topic = rig.codec(), rig.topics.changes_bulk
    data = [codec.decode(topic, each.value()) for each in rig.changes(Lane.BULK)]
    given = [datum["status"] == "given" for datum in data]
    assert given == sorted(given), "refusals first"
    assert not any(datum["bulk"] for datum in data), "each decision keeps its mark"


def test_holes_of_one_channel_are_filled_for_that_channel_and_all_in_one_pass(rig: Rig) -> None:
    history(rig)
    report(rig, 0, email="mail")
    report(rig, 2, hole="all")
    with rig.relay() as relay:
        until(lambda: markers(rig, "mail") and markers(rig, "all"))
        until(lambda: finished(relay) == 2)
    assert republished(rig, 0) == published(rig, 0, "email")
    assert republished(rig, 2) == published(rig, 2)
    assert republished(rig, 1) == republished(rig, 3) == set()


def test_a_hole_is_repaired_once_however_many_relays_run(rig: Rig) -> None:
    history(rig, people=60)
    with rig.relay() as one, rig.relay() as other:
        until(lambda: one.health.readiness() == (True, []) and other.health.readiness() == (True, []))
        report(rig, 1, hole="one")
        until(lambda: markers(rig, "one"))
        until(lambda: finished(one) + finished(other) == 1)
        report(rig, 1, hole="one")
        time.sleep(1)
    assert len(markers(rig, "one")) == 1
    assert len([each for each in rig.changes(Lane.BULK) if each.partition() == 1]) == len(published(rig, 1))


def test_an_interrupted_repair_goes_on_from_its_cursor(rig: Rig) -> None:
    history(rig)
    last = rig.ask("SELECT max(address_id) FROM decision_addresses")
    cursor = f'{{"permissions": true, "address_id": {last}, "decision_id": "ffffffff-ffff-ffff-ffff-ffffffffffff"}}'
    bulk = rig.topics.changes_bulk
    topic_id = TopicAdmin(rig.kafka, wait_seconds=10).ids([bulk])[bulk]
    insert = (
        "INSERT INTO hole_repairs (hole_id, partition, topic_id, taken_by, taken_at, cursor, started_at)"
        f" VALUES ('%s', 1, '%s', 'another relay', 0, '{cursor}', 0)"
    )
    with rig.owner.begin() as connection:
        connection.exec_driver_sql(insert % ("one", topic_id))
    report(rig, 1, hole="one")
    with rig.relay():
        until(lambda: markers(rig, "one"))
    assert republished(rig, 1) == set(), "all pages had been published"
    # What was published to a topic that is not there any more does not count.
    with rig.owner.begin() as connection:
        connection.exec_driver_sql(insert % ("two", "an older topic"))
    report(rig, 1, hole="two")
    with rig.relay():
        until(lambda: markers(rig, "two"))
    assert republished(rig, 1) == published(rig, 1)


def test_a_repair_that_another_relay_is_doing_is_left_to_it_until_that_gives_no_sign_of_life(rig: Rig) -> None:
    report(rig, 1, hole="one")
    with rig.relay() as relay:
        until(lambda: relay.health.readiness() == (True, []))
        until(lambda: markers(rig, "one"))
        taken_at = "(extract(epoch FROM clock_timestamp()) * 1e6)::bigint"
        with rig.owner.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO hole_repairs (hole_id, partition, topic_id, taken_by, taken_at, started_at) VALUES"
                f" ('two', 1, 't', 'another relay', {taken_at} - 5000000, {taken_at} - 5000000)"
            )
        report(rig, 1, hole="two")
        until(lambda: markers(rig, "two"))
        assert rig.ask("SELECT repaired_at - started_at FROM hole_repairs WHERE hole_id = 'two'") > 15_000_000


def test_a_marker_that_was_merged_without_closing_the_hole_is_repeated(rig: Rig) -> None:
    with rig.relay() as relay:
        report(rig, 1, hole="one")
        until(lambda: markers(rig, "one"))
        [(_, offset)] = markers(rig, "one")
        report(rig, 1, hole="one", offset=offset + 1)
        until(lambda: len(markers(rig, "one")) == 2)
        assert relay.metric("consent_relay_hole_repairs_total", outcome="restarted") == 1


def test_a_keyring_that_lacks_a_tenant_holds_up_no_repair(rig: Rig, keyring: Keyring, tmp_path: Path) -> None:
    history(rig, people=10)
    tenants = {"another": [Key(id="h1", secret=bytes(32), primary=True)]}
    lacking = write_keyring(tmp_path / "lacking.toml", keyring.seal_keys, tenants)
    with rig.elsewhere(keyring_file=lacking).relay():
        report(rig, 1, hole="one")
        until(lambda: markers(rig, "one"))
    people = (each for each in rig.changes() if not each.key().startswith(b"k"))
    assert republished(rig, 1) == event_ids(rig, people, topic=rig.topics.changes, partition=1)


class PublisherOfMarkers(Publisher):
    """Real, but that the first marker lands lower than what was sent before it: Kafka went back meanwhile."""

    gone_back = False

    def publish(self, rows: Sequence[Row], *, beat: Callable[[], None], stop: Callable[[], bool]) -> Delivery:
        delivery = super().publish(rows, beat=beat, stop=stop)
        marker = threading.current_thread().name == "repair" and any(row.key == b"1" for row in rows)
        if marker and not PublisherOfMarkers.gone_back:
            PublisherOfMarkers.gone_back = True
            delivery.offsets[1] = OffsetRange(lowest=0, highest=0)
        return delivery


def test_a_repair_whose_marker_shows_a_loss_publishes_everything_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    history(rig)
    monkeypatch.setattr(process, "Publisher", PublisherOfMarkers)
    with rig.relay() as relay:
        report(rig, 1, hole="one")
        until(lambda: finished(relay) == 1)
        assert relay.metric("consent_relay_hole_repairs_total", outcome="restarted") == 1
    assert len([each for each in rig.changes(Lane.BULK) if each.partition() == 1]) == 2 * len(published(rig, 1))


def test_a_partition_that_takes_no_records_holds_up_no_repair_of_another(
    rig: Rig, one_partition_stuck: type[PublisherWithoutLeader]
) -> None:
    one_partition_stuck.stuck = frozenset()
    history(rig)
    one_partition_stuck.stuck = frozenset({STUCK})
    with rig.relay():
        report_all(rig, {STUCK: "stuck", 1: "one"})
        until(lambda: markers(rig, "one"))
        assert republished(rig, 1) == published(rig, 1)
        assert markers(rig, "stuck") == []
        one_partition_stuck.stuck = frozenset()
        until(lambda: markers(rig, "stuck"))
    assert republished(rig, STUCK) == published(rig, STUCK)
