"""Dead letters listed and replayed by command, on real servers. # R16 # R13"""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consent_api.dead_letters.reader import REPLAYED_AT, DeadLetterReader, Filter
from consent_api.dead_letters.replayer import PRODUCER, TRANSACTIONAL_ID, NotReplayedError, Replayer
from consent_api.ingest.record import Consumed
from consent_runtime import kafka
from consent_runtime.dead_letters import DeadLetterMetrics, Letters
from consent_runtime.keyring import Key, Keyring
from tests.integration.flow.house import House, refusal, until, write_keyring

ADDRESS = "+33639980042"


def put_aside(house: House, *, invalid: int = 2, junk: int = 1) -> None:
    """Records of a tenant that the installation does not know yet, and some that nobody can read."""
    wrong = house.encoded([refusal(tenant="newcomer", address=ADDRESS) for _ in range(invalid)])
    house.submit([*wrong, *[b"junk"] * junk])
    with house.ingest() as ingest:
        until(
            lambda: (
                ingest.metric("consent_relay_ingest_records_total", topic=house.topics.inbound, outcome="dead_letter")
                == invalid + junk
            )
        )


def places(listing: str) -> list[str]:
    return [line.split("\t")[0] for line in listing.splitlines() if "\t" in line]


def test_list_tells_where_and_why_but_shows_no_content_unless_asked(house: House) -> None:
    put_aside(house)
    listing = house.run("dead-letters", "list")
    assert len(places(listing)) == 3
    assert "/tenant" in listing
    assert ADDRESS not in listing
    assert len(places(house.run("dead-letters", "list", "--reason", "not_framed"))) == 1
    assert places(house.run("dead-letters", "list", "--service", "suppression")) == []
    shown = house.run("dead-letters", "list", "--reason", "invalid", "--show")
    assert ADDRESS in shown
    assert '"up-0"' in shown


def test_replay_puts_the_record_back_as_it_was_and_only_once(house: House) -> None:
    put_aside(house)
    before = house.records(house.topics.inbound)
    assert "2 replayed, 0 kept" in house.run("dead-letters", "replay", "--every", "--reason", "invalid", "--yes")
    after = house.records(house.topics.inbound)
    assert len(after) == len(before) + 2
    wrong = sorted((each.key(), each.value(), each.partition()) for each in before if each.value() != b"junk")
    known = {(each.partition(), each.offset()) for each in before}
    replayed = [each for each in after if (each.partition(), each.offset()) not in known]
    assert sorted((each.key(), each.value(), each.partition()) for each in replayed) == wrong
    assert "0 replayed" in house.run("dead-letters", "replay", "--every", "--reason", "invalid", "--yes")
    assert len(house.records(house.topics.inbound)) == len(after)
    assert len(places(house.run("dead-letters", "list"))) == 1
    assert house.run("dead-letters", "list", "--all").count("\treplayed 2") == 2


def test_one_record_can_be_replayed_and_again_only_on_purpose(house: House) -> None:
    put_aside(house)
    [place, *_] = places(house.run("dead-letters", "list", "--reason", "invalid"))
    house.run("dead-letters", "replay", place, "--yes")
    house.run("dead-letters", "replay", place, "--yes", code=1)
    house.run("dead-letters", "replay", place, "--again", "--yes")
    house.run("dead-letters", "replay", "--every", "--again", "--yes", code=2)
    assert len(house.records(house.topics.inbound)) == 5


def test_replay_asks_first(house: House) -> None:
    put_aside(house)
    assert "Replay 3 records?" in house.run("dead-letters", "replay", "--every", code=1)
    assert len(house.records(house.topics.inbound)) == 3


def test_a_replayed_record_is_recorded_once_the_cause_is_gone(house: House, keyring: Keyring, tmp_path: Path) -> None:
    put_aside(house, junk=0)
    tenants = {**keyring.hash_keys, "newcomer": [Key(id="h1", secret=bytes(32), primary=True)]}
    repaired = write_keyring(tmp_path / "repaired.toml", keyring.seal_keys, tenants)
    mended = house.elsewhere(keyring_file=repaired)
    mended.run("dead-letters", "replay", "--every", "--yes")
    with mended.ingest():
        until(lambda: house.ask("SELECT count(*) FROM decisions") == 2)
    assert house.ask("SELECT min(tenant) FROM decisions") == "newcomer"


def test_a_record_that_is_still_wrong_comes_back_as_a_new_letter_and_the_replay_ends(house: House) -> None:
    put_aside(house)
    with house.ingest():
        assert "3 replayed, 0 kept" in house.run("dead-letters", "replay", "--every", "--yes")
        until(lambda: len(places(house.run("dead-letters", "list"))) == 3)


def test_a_record_of_the_suppression_list_is_never_put_back(house: House, keyring: Keyring) -> None:
    # R5: the list is compacted and its newest record wins, so an old entry would undo a newer one.
    letters = Letters(
        codec=house.codec(),
        keyring=keyring,
        topics=house.topics,
        service="propagator",
        metrics=DeadLetterMetrics.on(CollectorRegistry()),
    )
    record = Consumed(
        topic=house.topics.suppression("sms"), partition=0, offset=7, timestamp=1, key=b"k", value=b"v", headers=()
    )
    key, value, _ = letters.letter(record, "undecodable", "the bytes are not a SuppressionEntry")
    producer = kafka.producer(house.kafka)
    producer.produce(letters.topic, value, key)
    producer.flush(10)
    said = house.run("dead-letters", "replay", "--every", "--yes", code=1)
    assert "0 replayed, 1 kept" in said
    assert "republish" in said
    assert house.records(record.topic) == []


def test_what_is_no_dead_letter_is_listed_and_hides_none(house: House) -> None:  # R26
    put_aside(house)
    waiting = places(house.run("dead-letters", "list"))
    topic = house.topics.dead_letters("consent-api")
    producer = kafka.producer(house.kafka)
    for key in (None, None, waiting[0].encode()):
        producer.produce(topic, b"noise", key)
    producer.produce(topic, None, b"mark", headers={REPLAYED_AT: b"\xff"})
    assert producer.flush(10) == 0
    said = house.run("dead-letters", "list")
    assert said.count("this is no dead letter") == 3
    assert set(waiting) < set(places(said))


def test_of_two_replays_at_once_the_older_one_is_fenced(house: House, keyring: Keyring) -> None:
    put_aside(house)

    def replayer() -> Replayer:
        name = house.topics.group(TRANSACTIONAL_ID)
        return Replayer(
            producer=kafka.transactional_producer(house.kafka, name, **PRODUCER), keyring=keyring, topics=house.topics
        )

    box = DeadLetterReader(
        connect=lambda: kafka.consumer(house.kafka, "any", enable_partition_eof=True),
        codec=house.codec(),
        topics=house.topics,
    )
    older = replayer()
    found = list(box.letters(Filter()))
    newer = replayer()
    assert len(list(newer.replay(box.letters(Filter())))) == 3
    with pytest.raises(NotReplayedError):
        list(older.replay(found))
    assert len(house.records(house.topics.inbound)) == 6
