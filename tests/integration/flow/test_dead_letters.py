"""Dead letters listed and replayed by command, on real servers. # R16 # R13"""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consent_api.errors import NotReplayedError
from consent_api.ingest.record import Consumed
from consent_api.operations.dead_letters.reader import REPLAYED_AT, DeadLetterReader, Filter
from consent_api.operations.dead_letters.replayer import PRODUCER, TRANSACTIONAL_ID, Replayer
from consent_kafka import clients
from consent_kafka.dead_letters import DeadLetterBuilder, DeadLetterMetrics
from consent_privacy.keyring import Key, Keyring
from tests.integration.flow.rig import Rig, refusal
from tests.support.keyrings import write_keyring
from tests.support.waiting import until

ADDRESS = "+33639980042"


def put_aside(rig: Rig, *, invalid: int = 2, junk: int = 1) -> None:
    """Records of a tenant that the installation does not know yet, and some that cannot be decoded."""
    wrong = rig.encoded([refusal(tenant="newcomer", address=ADDRESS) for _ in range(invalid)])
    rig.submit([*wrong, *[b"junk"] * junk])
    with rig.ingest() as ingest:
        until(
            lambda: (
                ingest.metric("consent_relay_ingest_records_total", topic=rig.topics.inbound, outcome="dead_letter")
                == invalid + junk
            )
        )


def places(listing: str) -> list[str]:
    return [line.split("\t")[0] for line in listing.splitlines() if "\t" in line]


def test_list_shows_where_and_why_but_no_content_unless_asked(rig: Rig) -> None:
    put_aside(rig)
    listing = rig.run("dead-letters", "list")
    assert len(places(listing)) == 3
    assert "/tenant" in listing
    assert ADDRESS not in listing
    assert len(places(rig.run("dead-letters", "list", "--reason", "not_framed"))) == 1
    assert places(rig.run("dead-letters", "list", "--service", "suppression")) == []
    shown = rig.run("dead-letters", "list", "--reason", "invalid", "--show")
    assert ADDRESS in shown
    assert '"up-0"' in shown


def test_replay_puts_the_record_back_as_it_was_and_only_once(rig: Rig) -> None:
    put_aside(rig)
    before = rig.records(rig.topics.inbound)
    assert "2 replayed, 0 kept" in rig.run("dead-letters", "replay", "--every", "--reason", "invalid", "--yes")
    after = rig.records(rig.topics.inbound)
    assert len(after) == len(before) + 2
    wrong = sorted((each.key(), each.value(), each.partition()) for each in before if each.value() != b"junk")
    known = {(each.partition(), each.offset()) for each in before}
    replayed = [each for each in after if (each.partition(), each.offset()) not in known]
    assert sorted((each.key(), each.value(), each.partition()) for each in replayed) == wrong
    assert "0 replayed" in rig.run("dead-letters", "replay", "--every", "--reason", "invalid", "--yes")
    assert "nothing to replay" in rig.run("dead-letters", "replay", "nowhere:0:1", "--yes", code=1)
    assert len(rig.records(rig.topics.inbound)) == len(after)
    assert len(places(rig.run("dead-letters", "list"))) == 1
    assert rig.run("dead-letters", "list", "--all").count("\treplayed 2") == 2


def test_one_record_can_be_replayed_and_again_only_on_purpose(rig: Rig) -> None:
    put_aside(rig)
    [place, *_] = places(rig.run("dead-letters", "list", "--reason", "invalid"))
    rig.run("dead-letters", "replay", place, "--yes")
    rig.run("dead-letters", "replay", place, "--yes", code=1)
    rig.run("dead-letters", "replay", place, "--again", "--yes")
    rig.run("dead-letters", "replay", "--every", "--again", "--yes", code=2)
    assert len(rig.records(rig.topics.inbound)) == 5


def test_replay_asks_first(rig: Rig) -> None:
    put_aside(rig)
    assert "Replay 3 records?" in rig.run("dead-letters", "replay", "--every", code=1)
    assert len(rig.records(rig.topics.inbound)) == 3


def test_a_replayed_record_is_recorded_once_the_cause_is_gone(rig: Rig, keyring: Keyring, tmp_path: Path) -> None:
    put_aside(rig, junk=0)
    tenants = {**keyring.hash_keys, "newcomer": [Key(id="h1", secret=bytes(32), primary=True)]}
    repaired = write_keyring(tmp_path / "repaired.toml", keyring.seal_keys, tenants)
    mended = rig.elsewhere(keyring_file=repaired)
    mended.run("dead-letters", "replay", "--every", "--yes")
    with mended.ingest():
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 2)
    assert rig.ask("SELECT min(tenant) FROM decisions") == "newcomer"


def test_a_record_that_is_still_wrong_comes_back_as_a_new_letter_and_the_replay_ends(rig: Rig) -> None:
    put_aside(rig)
    with rig.ingest():
        assert "3 replayed, 0 kept" in rig.run("dead-letters", "replay", "--every", "--yes")
        until(lambda: len(places(rig.run("dead-letters", "list"))) == 3)


def test_a_record_of_the_suppression_list_is_never_put_back(rig: Rig, keyring: Keyring) -> None:
    # R5: the list is compacted and its newest record wins, so an old entry would undo a newer one.
    letters = DeadLetterBuilder(
        codec=rig.codec(),
        keyring=lambda: keyring,
        topics=rig.topics,
        service="propagator",
        metrics=DeadLetterMetrics.on(CollectorRegistry()),
    )
    record = Consumed(
        topic=rig.topics.suppression("sms"), partition=0, offset=7, timestamp=1, key=b"k", value=b"v", headers=()
    )
    key, value, _ = letters.letter(record, "undecodable", "the bytes are not a SuppressionEntry")
    producer = clients.producer(rig.kafka)
    producer.produce(letters.topic, value, key)
    producer.flush(10)
    said = rig.run("dead-letters", "replay", "--every", "--yes", code=1)
    assert "0 replayed, 1 kept" in said
    assert "republish" in said
    assert rig.records(record.topic) == []


def test_what_is_no_dead_letter_is_listed_and_hides_none(rig: Rig) -> None:  # R26
    put_aside(rig)
    waiting = places(rig.run("dead-letters", "list"))
    topic = rig.topics.dead_letters("consent-api")
    producer = clients.producer(rig.kafka)
    for key in (None, None, waiting[0].encode()):
        producer.produce(topic, b"noise", key)
    producer.produce(topic, None, b"mark", headers={REPLAYED_AT: b"\xff"})
    assert producer.flush(10) == 0
    said = rig.run("dead-letters", "list")
    assert said.count("this is no dead letter") == 3
    assert set(waiting) < set(places(said))


def test_of_two_replays_at_once_the_older_one_is_fenced(rig: Rig, keyring: Keyring) -> None:
    put_aside(rig)

    def replayer() -> Replayer:
        name = rig.topics.group(TRANSACTIONAL_ID)
        return Replayer(
            producer=clients.transactional_producer(rig.kafka, name, **PRODUCER), keyring=keyring, topics=rig.topics
        )

    box = DeadLetterReader(
        connect=lambda: clients.consumer(rig.kafka, "any", enable_partition_eof=True),
        codec=rig.codec(),
        topics=rig.topics,
    )
    older = replayer()
    found = list(box.letters(Filter()))
    newer = replayer()
    assert len(list(newer.replay(box.letters(Filter())))) == 3
    with pytest.raises(NotReplayedError):
        list(older.replay(found))
    assert len(rig.records(rig.topics.inbound)) == 6


def test_a_listing_obeys_nothing_that_a_record_says(rig: Rig) -> None:
    """A forged letter is listed too, and a record may hold anything."""
    odd = "\x1b]0;owned\x07\u202e\n"
    codec, topic = rig.codec(), rig.topics.dead_letters("consent-api")
    datum = {
        "service": "consent-api",
        "topic": rig.topics.inbound,
        "partition": 0,
        "offset": 1,
        "reason": f"invalid{odd}",
        "error": f"wrong{odd}",
        "sealed_record": b"",
        "failed_at": 1,
    }
    rig.submit([codec.encode(topic, datum)], topic=topic)
    wrong = rig.encoded([refusal(tenant=f"newcomer{odd}", address=ADDRESS)])
    rig.submit(wrong)
    with rig.ingest() as ingest:
        name = "consent_relay_ingest_records_total"
        until(lambda: ingest.metric(name, topic=rig.topics.inbound, outcome="dead_letter") == 1)
    listing = rig.run("dead-letters", "list", "--show")
    assert not {"\x1b", "\x07", "\u202e"} & set(listing)
    assert "wrong\\u001b]0;owned\\u0007\\u202e\\n" in listing
    assert len(places(listing)) == 2
