"""Kafka rebuilt from the ledger, on real servers. # R12 # R43"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import text

from consent_api.ledger.lanes import Lane
from consent_api.operations.republish.checkpoint import CheckpointFile
from consent_api.operations.republish.pacing import MERGE_GROUP, MergedOffsets
from consent_api.operations.republish.pages import Cursor, Selection
from consent_contracts.decisions import AddressEntry
from consent_contracts.join import join
from consent_contracts.partitioner import partition_of
from consent_contracts.records import entry_from_change
from consent_contracts.topics import Topics
from consent_kafka import clients, provisioning
from consent_kafka.topic_admin import TopicAdmin
from consent_privacy.keyring import Key, Keyring
from consent_service.clock import now_micros
from tests.integration.flow.rig import Rig, grant, refusal
from tests.support.keyrings import write_keyring
from tests.support.waiting import until


def changes(rig: Rig, topic: str) -> list[tuple[Any, dict[str, Any]]]:
    """The ConsentChanged records of a changes topic, as messages and as data; each is in its address's partition."""
    codec = rig.codec()
    found: list[tuple[Any, dict[str, Any]]] = []
    for record in rig.records(topic):
        name, datum = codec.decode_record(topic, record.value())
        if name == "ConsentChanged":
            assert record.key() == datum["address_key"].encode()
            assert record.partition() == partition_of(record.key(), 4)
            found.append((record, datum))
    return found


def merged(rig: Rig) -> dict[str, AddressEntry]:
    """What the merge makes of both changes topics, by address_key."""
    state: dict[str, AddressEntry] = {}
    for topic in (rig.topics.changes, rig.topics.changes_bulk):
        for _, datum in changes(rig, topic):
            entry = entry_from_change(datum)
            state[entry.address_key] = join(state.get(entry.address_key), entry)
    return state


def history(rig: Rig) -> None:
    """Grants, refusals, several addresses a subject, shared addresses, refusals that new links inherit."""
    data: list[dict[str, Any]] = []
    for number in range(60):
        person = f"person-{number}"
        phone = f"+3363998{number % 40:04d}"
        data.append(grant(subject_ref=person, address=phone))
        if number % 3 == 0:
            data.append(refusal(subject_ref=person, address=None))
        if number % 4 == 0:
            data.append(grant(subject_ref=person, address=f"+3363998{5000 + number:04d}", purpose="survey"))
        if number % 5 == 0:
            data.append(refusal(subject_ref=None, address=phone, purpose="*"))
        if number % 6 == 0:
            data.append(grant(subject_ref=person, address=f"p{number}@example.com", channel="email"))
    rig.submit(rig.encoded(data))
    with rig.ingest(), rig.relay():
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == len(data))
        until(lambda: rig.pending() == 0)


@contextmanager
def wiped(rig: Rig, **changes: Any) -> Iterator[Rig]:
    """The same ledger over empty topics."""
    topics = Topics(prefix=f"t{uuid4().hex[:8]}.")
    provisioning.apply(bootstrap=rig.kafka, registry=rig.registry, topics=topics)
    yield rig.elsewhere(topics=topics, **changes)
    admin = AdminClient({"bootstrap.servers": rig.kafka})
    for deleted in admin.delete_topics([spec.name for spec in topics.specs()]).values():
        deleted.result()


def test_wiped_and_republished_kafka_holds_the_same_state(rig: Rig) -> None:
    history(rig)
    state = merged(rig)
    assert len(state) > 50
    before = {record.value()[5:]: datum for record, datum in changes(rig, rig.topics.changes)}
    with wiped(rig) as empty:
        assert f"would publish {len(before)} events" in empty.run("republish", "--dry-run")
        assert empty.records(empty.topics.changes_bulk) == []
        assert f"published {len(before)} events" in empty.run("republish")
        assert empty.records(empty.topics.changes) == [], "republish delays nothing live"
        assert merged(empty) == state
        assert {record.value()[5:] for record, _ in changes(empty, empty.topics.changes_bulk)} == set(before), (
            "a consumer must recognise each event: its id is the same"
        )


def test_each_decision_keeps_its_mark(rig: Rig) -> None:
    history(rig)
    with rig.owner.begin() as connection:
        connection.execute(text("UPDATE decisions SET bulk = (effective_at % 2 = 0)"))
        repeated = (
            "INSERT INTO live_repeats SELECT decision_id, 0 FROM decisions WHERE bulk ORDER BY decision_id LIMIT 5"
        )
        connection.execute(text(repeated))
    with wiped(rig) as empty:
        empty.run("republish")
        marks = {datum["decision_id"]: datum["bulk"] for _, datum in changes(empty, empty.topics.changes_bulk)}
    with rig.owner.connect() as connection:
        rows = connection.execute(
            text("""SELECT decision_id::text AS id,
                           bulk AND decision_id NOT IN (SELECT decision_id FROM live_repeats) AS bulk
                    FROM decisions JOIN decision_addresses USING (decision_id)""")
        )
        assert marks == {row.id: row.bulk for row in rows}
    assert set(marks.values()) == {True, False}


def test_republish_publishes_what_the_options_select(rig: Rig) -> None:
    history(rig)
    with wiped(rig) as empty:
        empty.run("republish", "--channel", "email", "--tenant", "acme")
        assert {entry.channel for entry in merged(empty).values()} == {"email"}
        assert "published 0 events" in empty.run("republish", "--since", "2999-01-01T00:00:00Z")
        assert "--tenant" in empty.run("republish", "--tenant", "newcomer", code=2)
        assert "RFC 3339" in empty.run("republish", "--since", "yesterday", code=2)


def interrupted(rig: Rig, notes: Path, cursor: Cursor, *, hash_keys: list[str] | None = None) -> None:
    """What a run leaves behind that was interrupted at `cursor`."""
    topics = rig.topics
    ids = TopicAdmin(rig.kafka, wait_seconds=10).ids([topics.changes_bulk, *map(topics.suppression, topics.channels)])
    keys = Keyring.load(rig.keyring_file).hash_keys
    live = {tenant: hash_keys or [key.id for key in known] for tenant, known in keys.items()}
    CheckpointFile(notes, Selection(), hash_keys=live, topics=ids).save(cursor)


def test_no_permission_goes_out_before_the_refusals(rig: Rig) -> None:
    # R43: while a list is rebuilt no reader may find half of an address's decisions.
    history(rig)
    with wiped(rig) as empty:
        empty.run("republish")
        by_partition: dict[int, list[bool]] = {}
        for record, datum in changes(empty, empty.topics.changes_bulk):
            given = datum["status"] == "given"
            by_partition.setdefault(record.partition(), []).append(given)
        assert len(by_partition) > 1
        assert all(each == sorted(each) for each in by_partition.values())


@pytest.mark.parametrize("stale", ["hash keys", "topics"])
def test_a_run_that_others_have_begun_is_not_gone_on_with(rig: Rig, stale: str) -> None:
    # R12 R43: what lies before the place that it noted has not gone to these topics, or not under these keys.
    history(rig)
    state = merged(rig)
    end = Cursor(permissions=True, address_id=2**62)
    with wiped(rig) as empty:
        notes = rig.state_dir / "republish.json"
        if stale == "topics":
            interrupted(rig, notes, end)
        else:
            interrupted(empty, notes, end, hash_keys=["h0"])
        assert "--restart" in empty.run("republish", code=1)
        empty.run("republish", "--restart")
        assert merged(empty) == state


def test_an_interrupted_run_goes_on_where_it_stopped(rig: Rig) -> None:
    history(rig)
    state = merged(rig)
    middle = sorted(rig.ask("SELECT array_agg(DISTINCT address_id) FROM decision_addresses"))[20]
    with wiped(rig) as empty:
        notes = rig.state_dir / "republish.json"
        interrupted(empty, notes, Cursor(permissions=True, address_id=middle, decision_id=f"{UUID(int=2**128 - 1)}"))
        assert "--restart" in empty.run("republish", "--channel", "sms", code=1)
        assert "going on" in empty.run("republish")
        rest = merged(empty)
        assert 0 < len(rest) < len(state)
        assert not notes.exists()
        empty.run("republish")
        assert merged(empty) == state


def test_a_new_hash_key_is_filled_by_republish(rig: Rig, keyring: Keyring, tmp_path: Path) -> None:
    # R12: entries under the new key hold all that those under the old one hold.
    history(rig)
    state = merged(rig)
    keys = [*keyring.hash_keys["acme"], Key(id="h99", secret=bytes(32))]
    rotated = write_keyring(tmp_path / "rotated.toml", keyring.seal_keys, {"acme": keys})
    with wiped(rig, keyring_file=rotated) as empty:
        empty.run("republish", "--key-id", "h99")
        new = merged(empty)
        assert {key.partition(".")[0] for key in new} == {"h99"}
        held = [sorted(map(repr, (entry.decisions for entry in each.values()))) for each in (new, state)]
        assert held[0] == held[1]
        assert "no hash key" in empty.run("republish", "--key-id", "h98", code=2)
        file = str(rotated)
        assert "is not known of every partition" in empty.run("keyring", "promote", file, "acme", "h99", code=1)
        _merged_until_now(empty)
        assert "h99 is now the primary" in empty.run("keyring", "promote", file, "acme", "h99")
        assert "removed h1" in empty.run("keyring", "retire", file, "acme", "h1")


def _merged_until_now(rig: Rig) -> None:
    """What the merge states once it has read everything."""
    codec, topic, producer = rig.codec(), rig.topics.resolved, clients.producer(rig.kafka)
    for partition in range(4):
        now = now_micros()
        datum = {
            "partition": partition,
            "resolved_at": now,
            "bulk_resolved_at": now,
            "inbound_resolved_at": None,
            "loss": 0,
            "lists": [],
            "inputs": [],
            "hole": None,
            "channel_holes": {},
            "written_at": now,
        }
        producer.produce(topic, codec.encode(topic, datum), str(partition).encode(), partition=partition)
    assert producer.flush(10) == 0


def test_a_run_that_is_not_of_everything_does_not_let_a_hash_key_be_promoted(
    rig: Rig, keyring: Keyring, tmp_path: Path
) -> None:
    history(rig)
    keys = [*keyring.hash_keys["acme"], Key(id="h99", secret=bytes(32))]
    rotated = write_keyring(tmp_path / "rotated.toml", keyring.seal_keys, {"acme": keys})
    with wiped(rig, keyring_file=rotated) as empty:
        empty.run("republish", "--channel", "sms")
        empty.run("republish", "--since", "2020-01-01T00:00:00Z")
        empty.run("republish", "--dry-run")
        assert "there are sms, email, voice" in empty.run("republish", "--channel", "fax", "--dry-run", code=2)
        assert "republish --tenant acme" in empty.run("keyring", "promote", str(rotated), "acme", "h99", code=1)


def test_republish_waits_while_the_bulk_lane_cannot_keep_up(rig: Rig) -> None:
    history(rig)
    with wiped(rig) as empty:
        _published_until(rig, seconds_ago=90)
        process = empty.command("republish")
        assert process.stderr is not None
        assert "waiting" in process.stderr.readline()
        assert empty.records(empty.topics.changes_bulk) == []
        _published_until(rig, seconds_ago=1)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "published" in out
        assert merged(empty)


def test_republish_knows_what_the_merge_has_read(rig: Rig) -> None:
    topic, group = rig.topics.changes_bulk, rig.topics.group(MERGE_GROUP)
    consumer = clients.consumer(rig.kafka, group)
    merged_offsets = MergedOffsets(clients.consumer(rig.kafka, group), topic=topic, partitions=4)
    assert merged_offsets() == {}
    rig.fill(100, lane=Lane.BULK)
    with rig.relay():
        until(lambda: rig.pending(Lane.BULK) == 0)
    consumer.commit(offsets=[TopicPartition(topic, 1, 7), TopicPartition(topic, 3, 5)], asynchronous=False)
    assert merged_offsets() == {1: 7, 3: 5}
    consumer.close()


def _published_until(rig: Rig, *, seconds_ago: int) -> None:
    """What a relay that is alive leaves in the ledger: its bulk lane's resolved timestamp is so old."""
    now = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    with rig.owner.begin() as connection:
        connection.execute(text("DELETE FROM relay_turns WHERE lane = 'bulk'"))
        connection.execute(text("DELETE FROM relay_partitions WHERE lane = 'bulk'"))
        # Alive for as long as the test takes.
        connection.execute(text(f"INSERT INTO relay_turns VALUES ('bulk', 1, {now} + 60000000, 'test')"))
        connection.execute(
            text(f"""INSERT INTO relay_partitions (lane, partition, topic_id, resolved_at)
                     SELECT 'bulk', p, 't', {now} - :ago * 1000000 FROM generate_series(0, 3) AS p"""),
            {"ago": seconds_ago},
        )
