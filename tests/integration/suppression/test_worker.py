"""The merge stage as the process that operators run: killed, frozen and resumed, poisoned (R16, R43)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import TopicPartition

from consent_contracts import partition_of
from consent_kafka import clients as kafka_clients
from consent_kafka.dead_letters import original
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.suppression.stage import NOW, SECOND
from tests.integration.suppression.workers import PEOPLE, Installation
from tests.support.unpacking_bombs import send_bomb
from tests.support.waiting import until
from tests.unit.state.damage import flip_tables


def test_killed_again_and_again_under_load_nothing_is_lost(installation: Installation) -> None:
    random = Random(20261122)
    worker = installation.start("a")
    until(worker.ready, 30, "the worker is ready")
    for _ in range(4):
        for n in range(3_000):
            person = random.randrange(PEOPLE)
            at = NOW + random.randrange(100) * SECOND
            installation.send(
                person,
                channel=random.choice(["sms", "email", "voice"]),
                purpose=random.choice(["newsletter", "survey"]),
                status=random.choice(["given", "withdrawn", "objected"]),
                decision_id=f"{n}-{random.random()}",
                effective_at=at,
                recorded_at=at,
                bulk=random.random() < 0.5,
            )
        installation.flush()
        time.sleep(random.random() * 0.4)  # the moment of the blow, not a wait for anything
        worker.signal(signal.SIGKILL)
        worker.process.wait(10)
        worker = installation.start("a")
    until(installation.settled, 60, "every change is merged")
    assert worker.end() == 0


def test_resumed_zombie_changes_nothing_and_comes_back_to_work(installation: Installation) -> None:
    def round_of(decision: str, status: str, seconds: int) -> None:
        at = NOW + seconds * SECOND
        for person in range(PEOPLE):
            installation.send(
                person,
                status=status,
                decision_id=f"{decision}-{person}",
                effective_at=at,
                recorded_at=at,
                bulk=bool(person % 2),
            )
        installation.flush()

    frozen = installation.start("frozen")
    until(frozen.ready, 30, "the first worker is ready")
    round_of("grant", "given", 10)
    until(installation.settled, 30, "the grants are on the list")
    round_of("again", "given", 20)
    frozen.signal(signal.SIGSTOP)
    other = installation.start("other")
    round_of("stop", "withdrawn", 60)
    until(installation.settled, 60, "the second worker has taken over")
    frozen.signal(signal.SIGCONT)
    round_of("late", "given", 30)
    round_of("more", "objected", 90)
    until(installation.settled, 60, "the newest state is on the list")
    until(lambda: (frozen.merges(), other.merges()) == (2, 2), 60, "they share the work")
    until(lambda: frozen.ready() and other.ready(), 20, "both are ready")
    round_of("last", "withdrawn", 120)
    until(installation.settled, 60, "the newest state is on the list, with both at work")
    assert {d.status for entry in installation.entries.values() for d in entry.decisions} == {"withdrawn"}
    assert (frozen.end(), other.end()) == (0, 0)


def test_poison_goes_to_dead_letters_sealed_and_the_rest_is_merged(
    installation: Installation, keyring: Keyring
) -> None:  # R13, R16
    rig = installation.rig
    worker = installation.start("a")
    installation.send(1)
    installation.send_raw(b"k1.1", b"poison of +33 6 39 98 00 01")
    installation.send_raw(None, None, bulk=True)
    installation.send(2)
    installation.flush()
    until(installation.settled, 40, "the readable changes are merged")

    reader: Any = kafka_clients.consumer(rig.kafka, "reader")
    topic = rig.topics.dead_letters("suppression")
    reader.assign([TopicPartition(topic, 0, 0)])
    letters: list[Any] = []

    def both_arrived() -> bool:
        letters.extend(reader.consume(10, timeout=0.2))
        return len(letters) >= 2

    until(both_arrived, 20, "two dead letters")
    assert all(b"39 98 00 01" not in letter.value() for letter in letters)
    opened = {}
    sources = set()
    for letter in letters:
        content = rig.codec.decode(topic, letter.value())
        sources.add(content["topic"])
        opened[content["reason"]] = original(content, keyring).value
    assert opened == {"not_framed": b"poison of +33 6 39 98 00 01", "empty": None}
    assert sources == {rig.topics.changes, rig.topics.changes_bulk}
    assert worker.end() == 0


def test_ended_permission_is_written_again_by_a_worker_without_local_state(installation: Installation) -> None:  # R37
    """It was given while one worker ran, and ends while another does."""
    worker = installation.start("a")
    until(worker.ready, 30, "the worker is ready")
    ends = now_micros() + 15 * SECOND
    installation.send(1, status="given", expires_at=ends)
    installation.send(2, status="given", expires_at=ends + 3600 * SECOND)
    installation.flush()
    until(installation.settled, 30, "the permissions are on the list")
    worker.signal(signal.SIGKILL)
    other = installation.start("b")
    until(lambda: installation.settled() and len(installation.written_at) == 3, 40, "it is written again")
    assert installation.written_at[-1] >= ends
    until(lambda: other.merges() == 4, 20, "the other worker has all partitions")
    end = time.monotonic() + 2.5  # two more sweeps, in which nothing may be written
    until(lambda: installation.settled() and time.monotonic() > end, 10, "nothing more happens")
    assert len(installation.written_at) == 3
    assert other.end() == 0


def test_worker_with_damaged_local_state_restores_it_and_stays(
    installation: Installation, tmp_path: Path
) -> None:  # R43
    """A bit of every table is flipped, where compaction meets it at start: each start had written one table more."""
    for start in range(5):
        worker = installation.start("a")
        until(worker.ready, 30, "the worker is ready")
        for person in range(40):
            installation.send(person, status="given", decision_id=f"{start}-{person}", purpose=f"purpose{start}")
        installation.flush()
        until(installation.settled, 30, "the grants are merged")
        assert worker.end() == 0
    for state in (tmp_path / "state").rglob("CURRENT"):
        flip_tables(state.parent)
    worker = installation.start("a")
    for person in range(40):
        later = {"effective_at": NOW + 9 * SECOND, "recorded_at": NOW + 9 * SECOND}
        installation.send(person, decision_id=f"no-{person}", purpose="*", **later)
    installation.flush()
    until(lambda: worker.ready() and installation.settled(), 60, "the withdrawals are merged into what was there")
    rebuilds = worker.metric('consent_relay_suppression_state_rebuilds_total{reason="corrupted"}')
    assert rebuilds == 4
    assert worker.end() == 0


def test_missing_topics_are_named_and_end_the_start(
    kafka: str, registry_url: str, keyring_file: Path, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "consent_service", "suppression"],
        env={
            **os.environ,
            "CONSENT_RELAY_KAFKA": kafka,
            "CONSENT_RELAY_REGISTRY": registry_url,
            "CONSENT_RELAY_TOPIC_PREFIX": "nowhere.",
            "CONSENT_RELAY_KEYRING_FILE": str(keyring_file),
            "CONSENT_RELAY_STATE_DIR": str(tmp_path),
            "CONSENT_RELAY_METRICS_PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "nowhere.consent.changes.v1: no such topic" in ended.stderr
    assert "topics apply" in ended.stderr


def test_keys_of_the_tests_reach_every_partition() -> None:
    assert {partition_of(f"k1.{n}".encode(), 4) for n in range(PEOPLE)} == {0, 1, 2, 3}


def test_a_batch_that_no_client_can_unpack_is_passed_over_and_the_rest_is_merged(
    installation: Installation,
) -> None:  # R16
    rig = installation.rig
    worker = installation.start("a")
    until(worker.ready, 30, "the worker is ready")
    installation.send(1)
    installation.flush()
    places = [
        (topic, partition, send_bomb(rig.kafka, topic, partition, codec=codec))
        for topic in (rig.topics.changes, rig.topics.changes_bulk)
        for partition, codec in enumerate(("zstd", "gzip", "lz4"))
    ]
    for person in range(20):
        installation.send(person, bulk=bool(person % 2))
    installation.flush()
    until(installation.settled, 60, "what is readable is merged")
    assert worker.end() == 0

    topic = rig.topics.dead_letters("suppression")
    reader: Any = kafka_clients.consumer(rig.kafka, "dead-letters")
    reader.assign([TopicPartition(topic, 0, 0)])
    letters: dict[tuple[str, int, int], str] = {}

    def read() -> bool:
        for message in reader.consume(100, timeout=0.3):
            content = rig.codec.decode(topic, message.value())
            letters[content["topic"], content["partition"], content["offset"]] = content["reason"]
        return len(letters) == len(places)

    until(read, 30, "each has its dead letter")
    reader.close()
    assert letters == dict.fromkeys(places, "unfetchable")
