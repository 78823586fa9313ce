"""A stranger who may register schemas and produce records stops no other change, with real workers. # R10 # R16"""

from __future__ import annotations

from typing import Any

from confluent_kafka import TopicPartition

from consent_contracts import entry_from_change, entry_to_avro, partition_of
from consent_kafka import clients as kafka_clients
from suppression.merge.expiry import next_expiry_header
from tests.integration.suppression.stage import NOW, datum
from tests.integration.suppression.workers import Installation
from tests.support import odd_headers
from tests.support.poisoned_records import YEAR_11476, poisoned
from tests.support.waiting import until

MERGED = 'consent_relay_suppression_records_total{lane="live",outcome="merged"}'


def reasons(installation: Installation, wanted: int) -> list[str]:
    """Of the dead letters, once there are that many."""
    rig = installation.rig
    topic = rig.topics.dead_letters("suppression")
    reader: Any = kafka_clients.consumer(rig.kafka, "reader")
    reader.assign([TopicPartition(topic, 0, 0)])
    letters: list[Any] = []

    def arrived() -> bool:
        letters.extend(reader.consume(100, timeout=0.2))
        return len(letters) >= wanted

    until(arrived, 60, f"{wanted} dead letters")
    reader.close()
    return [rig.codec.decode(topic, each.value())["reason"] for each in letters]


def test_no_schema_and_no_change_stops_the_changes_behind_it(installation: Installation) -> None:
    rig = installation.rig
    values = poisoned(rig.registry_url, rig.topics.changes, "ConsentChanged", datum(1), "effective_at")
    late = {"effective_at": NOW, "recorded_at": YEAR_11476}
    values += [rig.change(1, **late).value or b"", rig.change(1, expires_at=YEAR_11476).value or b""]
    mark = {"resolved_at": YEAR_11476, "inbound_resolved_at": None, "loss": 2**63 - 1, "repaired": None}
    values.append(rig.codec.encode(rig.topics.changes, mark, "ConsentResolved"))
    worker = installation.start("a")
    for number, value in enumerate(values):
        installation.send_raw(f"k1.{number}".encode(), value)
        installation.send(number)
    installation.flush()
    until(installation.settled, 60, "the other changes are merged")
    found = reasons(installation, len(values))
    assert len(found) == len(values)
    assert set(found) == {"unknown_schema", "wrong_schema", "invalid"}
    assert worker.end() == 0


def test_a_header_that_no_client_can_read_stops_no_change(installation: Installation) -> None:
    rig = installation.rig
    numbers = [number for number in range(400) if partition_of(b"k1.%d" % number, 4) == 0][:6]
    worker = installation.start("a")
    installation.send(numbers[0])
    for number in numbers[1:]:
        odd_headers.produce(rig.kafka, rig.topics.changes, 0, b"k1.0", rig.change(0).value or b"")
        installation.send(number)
        installation.flush()
    until(installation.settled, 60, "the other changes are merged")
    assert set(reasons(installation, len(numbers) - 1)) <= {"empty", "unfetchable"}
    assert worker.end() == 0


def test_no_record_on_the_list_stops_a_worker_that_restores_it(installation: Installation) -> None:
    rig = installation.rig
    worker = installation.start("a")
    installation.send(1)
    installation.flush()
    until(installation.settled, 60, "the first entry is there")
    assert worker.end() == 0
    topic = rig.topics.suppression("sms")
    entry = entry_to_avro(entry_from_change(datum(1)), NOW)
    values = poisoned(rig.registry_url, topic, "SuppressionEntry", entry, "written_at")
    ending = entry_to_avro(entry_from_change(datum(1, status="given", expires_at=NOW + 9)), NOW)
    producer: Any = kafka_clients.producer(rig.kafka)
    for number, value in enumerate(values):
        producer.produce(topic, value, f"k1.poison{number}".encode())
    for key in (b"\xff\xfe", b"k1.\xe9"):
        producer.produce(topic, rig.codec.encode(topic, ending), key, headers=[next_expiry_header(NOW + 9)])
    assert producer.flush(20) == 0
    odd_headers.produce(rig.kafka, topic, 0, b"k1.odd", rig.codec.encode(topic, entry))
    other = installation.start("b")
    installation.send(2)
    installation.flush()
    until(other.ready, 60, "it has restored the list")
    until(lambda: other.metric(MERGED) >= 1, 60, "another change is merged")
    assert set(reasons(installation, len(values) + 2)) == {"unknown_schema", "wrong_schema", "not_framed"}
    assert other.end() == 0
