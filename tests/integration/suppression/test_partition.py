"""One partition of the merge stage on a real broker: what it writes, refuses, recovers, and never loses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from consent_contracts import Topics, entry_from_change
from consent_contracts.verdict import verdict
from consent_kafka import clients as kafka_clients
from consent_state import Compactor, Position
from suppression.errors import StoppedError
from suppression.merge.size_limit import OVERFLOW_SUBJECT
from suppression.partition.store import EntryStore
from tests.integration.suppression.stage import NOW, SECOND, Change, Rig, datum, in_thread, statuses
from tests.support.waiting import until
from tests.unit.state.damage import flip_tables


@pytest.fixture
def rig(kafka: str, registry_url: str, topics: Topics, tmp_path: Path) -> Rig:
    return Rig(kafka, registry_url, topics, tmp_path / "state")


def test_changes_become_entries_once_an_address(rig: Rig) -> None:
    with rig.partition() as merging:
        chunk = [
            rig.change(1, status="given"),
            rig.change(2, channel="email"),
            rig.change(1, status="objected", purpose="*", decision_id="d1b"),
        ]
        assert merging.merge(chunk).rejected == []
        assert statuses(rig.entries("sms")) == {"k1.1": ["objected", "given"]}
        assert statuses(rig.entries("email")) == {"k1.2": ["withdrawn"]}
        assert len(rig.records("sms")) == 1


def test_repeated_and_older_changes_are_not_written_again(rig: Rig) -> None:  # R5
    with rig.partition() as merging:
        merging.merge([rig.change(1)])
        merging.merge([rig.change(1), rig.change(1, status="given", decision_id="d0", effective_at=NOW - SECOND)])
        assert len(rig.records()) == 1
        assert statuses(rig.entries()) == {"k1.1": ["withdrawn"]}
    assert rig.counted("records", outcome="unchanged", lane="live") == 2


def test_what_the_admin_client_logs_is_ours_to_write(
    rig: Rig, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG", "consent_kafka.clients")
    with rig.partition(client_config={"log_level": 7, "debug": "admin"}):
        assert any("ADMIN" in line.getMessage() for line in caplog.records)
    assert "ADMIN" not in capfd.readouterr().err


def test_state_is_recovered_from_nothing_and_lazily_decoded(rig: Rig) -> None:
    with rig.partition("a") as merging:
        merging.merge([rig.change(n) for n in range(50)])
        merging.merge([rig.change(n, channel="voice") for n in range(50)])
    before = rig.entries()
    with rig.partition("b") as merging:  # another worker, no local state
        merging.merge([rig.change(n) for n in range(50)])
        assert len(rig.records()) == 50
        merging.merge([rig.change(7, purpose="survey", decision_id="new")])
        after = rig.entries()
    assert len(after.pop("k1.7").decisions) == 2
    before.pop("k1.7")
    assert after == before


def test_restart_reads_on_from_the_stored_positions(rig: Rig) -> None:
    with rig.partition() as merging:
        merging.merge([rig.change(n) for n in range(50)])
    read = rig.counted("restored_records")
    with rig.partition() as merging:
        assert rig.counted("restored_records") - read <= 3  # the ends of the partitions, no record again
        merging.merge([rig.change(n) for n in range(50)])
    assert len(rig.records()) == 50


def test_entries_committed_but_not_in_the_local_state_are_found_again(rig: Rig) -> None:
    """A process that dies between the commit and the write of its state has a topic that is ahead of it."""
    with rig.partition() as merging:
        merging.merge([rig.change(1)])
    held = rig.state_dir / "held"
    [state] = [path.parent for path in rig.state_dir.rglob("CURRENT")]
    shutil.copytree(state, held)
    with rig.partition() as merging:
        merging.merge([rig.change(1, status="objected", purpose="*", decision_id="d9"), rig.change(2)])
    shutil.rmtree(state)
    shutil.copytree(held, state)
    with rig.partition() as merging:
        merging.merge([rig.change(1, purpose="survey", decision_id="d10")])
    assert sorted(d.decision_id for d in rig.entries()["k1.1"].decisions) == ["d1", "d10", "d9"]


def test_positions_in_a_topic_that_was_recreated_are_not_used(rig: Rig) -> None:
    with rig.partition() as merging:
        merging.merge([rig.change(n) for n in range(20)])
    rig.wipe("sms")
    with rig.partition() as merging:
        merging.merge([rig.change(n) for n in range(20)])  # republished from the ledger
    assert len(rig.entries()) == 20


def test_state_at_a_higher_offset_than_its_topic_is_not_used(rig: Rig) -> None:
    """A topic that lost its end (an unclean election, a restored disk) must get the lost entries again."""
    with rig.partition() as merging:
        merging.merge([rig.change(1)])
    [path] = [path.parent for path in rig.state_dir.rglob("CURRENT")]
    store = EntryStore.open(path, partitions=4)
    past = {at: Position(position.topic_id, position.offset + 1_000) for at, position in store.state.positions.items()}
    assert past
    store.write({("sms", "k1.2"): entry_from_change(datum(2))}, past)
    store.state.close()
    with rig.partition() as merging:
        merging.merge([rig.change(2)])
    assert set(rig.entries()) == {"k1.1", "k1.2"}


def test_withdrawal_after_an_open_foreign_transaction_survives_a_restart(rig: Rig) -> None:  # R1
    """Only the high watermark shows that the topic holds it: a read_committed consumer's end is the transaction's."""
    foreign: Any = kafka_clients.transactional_producer(rig.kafka, f"{rig.topics.prefix}foreign")
    foreign.init_transactions(20)
    with rig.partition() as merging:
        merging.merge([rig.change(1, status="given", decision_id="d0", effective_at=NOW, recorded_at=NOW)])
        foreign.begin_transaction()
        foreign.produce(rig.topics.suppression("sms"), None, b"k1.foreign", 0)
        assert foreign.flush(10) == 0
        merging.merge([rig.change(1)])

    def restart() -> None:
        with rig.partition() as merging:
            merging.merge([rig.change(1, status="given", purpose="survey", decision_id="d2")])

    thread, outcome = in_thread(restart)
    waiting = f"restoring: waiting for an open transaction on {rig.topics.suppression('sms')}:0 (last stable offset "
    until(lambda: any(str(report).startswith(waiting) for report in rig.reports))
    assert rig.reports[-1] is not True
    assert thread.is_alive()
    foreign.abort_transaction(20)
    thread.join(30)
    assert outcome == [None]
    assert rig.reports[-1] is True
    entry = rig.entries()["k1.1"]
    assert {decision.decision_id: decision.status for decision in entry.decisions} == {"d1": "withdrawn", "d2": "given"}
    assert rig.counted("state_rebuilds", reason="out_of_range") == 0


def delete(state: Path) -> None:
    shutil.rmtree(state)


def truncate(state: Path) -> None:
    for file in state.iterdir():
        os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "reason"), [(delete, "absent"), (truncate, "corrupted"), (flip_tables, "corrupted")]
)
def test_damaged_local_state_is_restored_and_counted(rig: Rig, damage: Any, reason: str) -> None:  # R43
    for first in range(0, 50, 10):  # five files in level 0, which compaction reads at the next start
        with rig.partition() as merging:
            merging.merge([rig.change(number) for number in range(first, first + 10)])
    [state] = [path.parent for path in rig.state_dir.rglob("CURRENT")]
    before = rig.counted("state_rebuilds", reason=reason)
    damage(state)
    with rig.partition() as merging:
        merging.merge([rig.change(number, purpose="survey", decision_id=f"d{number}b") for number in range(50)])
    assert {key: len(entry.decisions) for key, entry in rig.entries().items()} == {f"k1.{n}": 2 for n in range(50)}
    assert rig.counted("state_rebuilds", reason=reason) == before + 1
    with rig.partition() as merging:
        merging.merge([rig.change(number) for number in range(50)])
    assert rig.counted("state_rebuilds", reason=reason) == before + 1
    assert len(rig.records()) == 100


def test_poison_is_refused_and_the_rest_merged(rig: Rig) -> None:  # R16
    good = rig.change(1)
    foreign_channel = rig.change(2, channel="pigeon")
    poison = [
        Change(b"k1.x", b"not avro"),
        Change(b"k1.x", None),
        Change(b"k1.x", good.value[:-3] if good.value else None),
        foreign_channel,
        rig.change(3, purpose="*", status="given"),
        rig.change(4, status="maybe"),
        Change(b"k1.other", rig.change(5).value),
        Change(None, rig.change(6).value),
        rig.change(1, tenant="umbrella", effective_at=NOW + 9, recorded_at=NOW + 9),
    ]
    with rig.partition() as merging:
        rejected = merging.merge([*poison[:4], good, *poison[4:]]).rejected
    assert {each.record for each in rejected} == set(poison)
    assert [each.reason for each in rejected if each.record is foreign_channel] == ["invalid"]
    assert statuses(rig.entries()) == {"k1.1": ["withdrawn"]}
    assert not any("k1." in each.error for each in rejected)


@pytest.mark.parametrize("rubbish", [b"rubbish", b"\x00\x7f\xff\xff\xfeunder a schema id that the registry lacks"])
def test_foreign_records_on_the_suppression_topic_void_what_was_given_before(rig: Rig, rubbish: bytes) -> None:  # R4
    with rig.partition("a") as merging:
        merging.merge([rig.change(1)])
    rig.write_foreign(b"k1.1", rubbish)
    rig.write_foreign(b"", b"rubbish")
    with rig.partition("b") as merging:
        assert len(rig.unrecognised_at_open) == 2
        merging.merge([rig.change(1, status="given", decision_id="d0", effective_at=NOW - SECOND)])
    entry = rig.codec.decode(rig.topics.suppression("sms"), rig.records()[-1][1])
    assert not any(verdict["permitted"] for verdict in entry["verdicts"].values())


def test_unreadable_current_entry_denies_until_consent_is_given_again(rig: Rig) -> None:  # R4
    with rig.partition("a") as merging:
        merging.merge([rig.change(1, status="objected", purpose="*"), rig.change(2)])
    [(_, framed)] = [record for record in rig.records() if record[0] == "k1.2"]
    assert framed is not None
    rig.write_foreign(b"k1.1", framed[:5] + b"\xff" * 30)
    with rig.partition("b") as merging:
        # Recovery has met the schema by then, so what follows its header is found out when it is needed.
        merging.merge([rig.change(1, status="given", decision_id="late")])
    [entry] = [entry for key, entry in rig.entries(passing_over_unreadable=True).items() if key == "k1.1"]
    assert not verdict(entry.decisions, "newsletter").permitted
    assert rig.counted("unreadable_entries") == 1


def test_erased_address_is_forgotten(rig: Rig) -> None:  # R33
    with rig.partition("a") as merging:
        merging.merge([rig.change(1)])
    rig.write_foreign(b"k1.1", None)
    with rig.partition("b") as merging:
        merging.merge(
            [
                rig.change(
                    1, status="given", decision_id="d2", effective_at=NOW + 60 * SECOND, recorded_at=NOW + 60 * SECOND
                )
            ]
        )
    assert statuses(rig.entries()) == {"k1.1": ["given"]}


ERASURE: dict[str, Any] = {
    "subject_ref": None,
    "purpose": "*",
    "status": "objected",
    "decision_id": "d9",
    "sealed_address": None,
    "effective_at": NOW + 60 * SECOND,
    "recorded_at": NOW + 60 * SECOND,
    "erased_at": NOW + 60 * SECOND,
}


def test_what_an_erasure_replaces_leaves_the_files_of_the_local_state(rig: Rig) -> None:  # R33
    secret = uuid4().bytes
    with rig.partition("a") as merging:
        merging.merge([rig.change(1, sealed_address=b"s1:" + secret)])
    assert on_disk(rig, secret)
    with compacting(rig):
        with rig.partition("a") as merging:
            merging.merge([rig.change(1, **ERASURE)])
            until(lambda: not on_disk(rig, secret), what="the secret has left the files")
        # A new instance restores both records, where the topic has not been compacted.
        with rig.partition("b"):
            until(lambda: not on_disk(rig, secret), what="the secret is not restored")
    assert [entry.sealed_address for entry in rig.entries().values()] == [None]


def test_so_does_an_entry_that_cannot_be_read(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:  # R33
    secret = uuid4().bytes
    with rig.partition("a") as merging:
        merging.merge([rig.change(2)])
    [(_, framed)] = rig.records()
    assert framed is not None
    rig.write_foreign(b"k1.1", framed[:5] + b"\xff" * 30 + secret)
    with rig.partition("b"):
        pass  # It has met the schema by then: what follows its header is stored as it is.
    assert on_disk(rig, secret)
    caplog.set_level("INFO", logger="consent_state.compactor")
    with compacting(rig), rig.partition("b") as merging:
        until(lambda: caplog.records, what="what the restore had requested is compacted")
        assert on_disk(rig, secret)
        merging.merge([rig.change(1, **ERASURE)])
        until(lambda: not on_disk(rig, secret), what="the secret has left the files")


def on_disk(rig: Rig, secret: bytes) -> bool:
    return any(secret in file.read_bytes() for file in rig.state_dir.rglob("*") if file.is_file())


@contextmanager
def compacting(rig: Rig) -> Iterator[None]:
    """Partitions opened within have what they request compacted at once."""
    compactor = rig.compactor = Compactor(delay_seconds=0)
    compactor.start()
    yield
    compactor.close()


def test_older_writer_is_fenced_and_the_newest_state_is_kept(rig: Rig) -> None:  # R43
    with rig.partition("old", owned=lambda: False) as old:
        old.merge([rig.change(1, status="given")])
        with rig.partition("new") as new:
            later = {"effective_at": NOW + 60 * SECOND, "recorded_at": NOW + 60 * SECOND}
            new.merge([rig.change(1, decision_id="d2", **later)])
            # The zombie still believes in the grant it knows, and adds a purpose to it.
            thread, outcome = in_thread(lambda: old.merge([rig.change(1, purpose="survey", decision_id="d3")]))
            new.merge([rig.change(3)])
            thread.join(2)
            assert thread.is_alive()  # fenced: it waits until it is stopped, and takes nothing back
            old.stop()
            thread.join(10)
            assert isinstance(outcome[0], StoppedError)
            new.merge([rig.change(1, purpose="survey", decision_id="d3")])
    assert statuses(rig.entries())["k1.1"] == ["withdrawn", "withdrawn"]
    assert rig.counted("fenced") == 1


def test_transaction_left_open_by_a_killed_worker_is_never_seen(rig: Rig) -> None:  # R43
    with rig.partition("a") as merging:
        merging.merge([rig.change(1, status="given")])
    killed: Any = kafka_clients.transactional_producer(rig.kafka, rig.topics.group("suppression-0"))
    killed.init_transactions(10)
    killed.begin_transaction()
    [(key, value)] = rig.records()
    killed.produce(rig.topics.suppression("sms"), value, b"k1.unseen", 0)
    killed.produce(rig.topics.suppression("sms"), value, key.encode(), 0)
    assert killed.flush(10) == 0
    with rig.partition("b") as merging:  # opened long before the transaction would have timed out
        merging.merge([rig.change(1)])
        assert len(rig.records()) == 2
    assert statuses(rig.entries()) == {"k1.1": ["withdrawn"]}


def test_fenced_writer_that_surely_owns_the_partition_goes_on(rig: Rig) -> None:
    """A transaction that timed out fences its own writer; so does a zombie that came back too early."""
    with rig.partition("old") as old:
        old.merge([rig.change(1)])
        with rig.partition("new") as new:
            new.merge([rig.change(2), rig.change(1, purpose="survey", decision_id="d9")])
        old.merge([rig.change(3), rig.change(1, purpose="*", decision_id="d10")])
    assert set(rig.entries()) == {"k1.1", "k1.2", "k1.3"}
    assert len(rig.entries()["k1.1"].decisions) == 3
    assert rig.counted("fenced") == 1


def test_entry_too_large_for_the_broker_is_written_as_refusals(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:  # R4
    monkeypatch.setattr("suppression.partition.serde.MAX_ENTRY_BYTES", 2_000)
    many = [rig.change(1, subject_ref=f"s{n}", decision_id=f"d{n}") for n in range(50)]
    with rig.partition("a") as merging:
        assert merging.merge([*many, rig.change(2)]).rejected == []
        [newest] = rig.entries()["k1.1"].decisions
        assert (newest.subject_ref, newest.decision_id, newest.status) == (OVERFLOW_SUBJECT, "d9", "withdrawn")
        merging.merge(many)
        assert len(rig.records()) == 2  # what comes again adds nothing
    with rig.partition("b") as merging:
        later = {"effective_at": NOW + 60 * SECOND, "recorded_at": NOW + 60 * SECOND}
        merging.merge([rig.change(1, subject_ref="s1", status="given", decision_id="again", **later)])
    assert not verdict(rig.entries()["k1.1"].decisions, "newsletter").permitted
    assert rig.counted("truncated_entries") == 2


def test_a_rewrite_restores_an_entry_that_another_client_has_overwritten(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:  # R64
    monkeypatch.setattr("suppression.partition.serde.MAX_ENTRY_BYTES", 2_000)
    many = [rig.change(2, subject_ref=f"s{n}", decision_id=f"d{n}") for n in range(50)]
    with rig.partition() as merging:
        merging.merge([rig.change(1), *many])
        right = rig.entries()
        rig.write_foreign(b"k1.1", None)
        rig.write_foreign(b"k1.2", b"garbage")
        merging.merge([rig.change(1), *many])
        assert rig.entries(passing_over_unreadable=True) != right, "what adds nothing is not written"
        merging.merge([rig.change(1, rewrite=True), rig.change(2, subject_ref="s7", decision_id="d7", rewrite=True)])
        merging.merge([rig.change(2, subject_ref=f"s{n}", decision_id=f"d{n}", rewrite=True) for n in range(50)])
        assert rig.entries(passing_over_unreadable=True) == right
        assert len(rig.records()) == 7, "of an address once a chunk, and reduced entries too"


def test_change_that_no_door_lets_in_is_refused_however_large(rig: Rig) -> None:
    with rig.partition() as merging:
        rejected = merging.merge(
            [rig.change(1, subject_ref="s" * 70_000), rig.change(2, subject_ref=OVERFLOW_SUBJECT)]
        ).rejected
    assert [each.reason for each in rejected] == ["invalid", "invalid"]
    assert rig.entries() == {}


def given_until(rig: Rig, number: int, expires_at: int, **fields: Any) -> Change:
    return rig.change(number, status="given", expires_at=expires_at, **fields)


def test_permission_that_ends_is_written_again_once_also_after_a_restart_without_local_state(rig: Rig) -> None:  # R37
    now = NOW + 100 * SECOND
    changes = [given_until(rig, 1, now + 10 * SECOND), given_until(rig, 2, now + 20 * SECOND), rig.change(3)]
    with rig.partition("a", clock=lambda: now) as merging:
        merging.merge(changes)
        assert merging.expire_permissions() is False
        assert len(rig.records()) == 3
    now += 10 * SECOND
    with rig.partition("b", clock=lambda: now) as merging:  # another worker, no local state
        merging.expire_permissions()
        merging.expire_permissions()
        assert [key for key, _ in rig.records()] == ["k1.1", "k1.2", "k1.3", "k1.1"]
    now += 10 * SECOND
    with rig.partition("a", clock=lambda: now) as merging:  # it still has its own date for k1.1
        merging.expire_permissions()
        merging.expire_permissions()
    with rig.partition("c", clock=lambda: now) as merging:
        merging.expire_permissions()
    assert [key for key, _ in rig.records()[3:]] == ["k1.1", "k1.2"]
    assert rig.counted("ended_permissions") == 2
    assert {key: entry.decisions for key, entry in rig.entries().items()} == {
        change.key.decode(): entry_from_change(rig.codec.decode(rig.topics.changes, change.value)).decisions
        for change in changes
        if change.key
    }


def test_end_of_a_permission_that_was_written_but_not_noted_is_found_in_the_topic(rig: Rig) -> None:
    """A process that dies between the commit and the write of its state has a topic that is ahead of it."""
    now = NOW + 100 * SECOND
    with rig.partition(clock=lambda: now) as merging:
        merging.merge([given_until(rig, 1, now + 10 * SECOND)])
    [state] = [path.parent for path in rig.state_dir.rglob("CURRENT")]
    held = rig.state_dir / "held"
    shutil.copytree(state, held)
    now += 10 * SECOND
    with rig.partition(clock=lambda: now) as merging:
        merging.expire_permissions()
    assert len(rig.records()) == 2
    shutil.rmtree(state)
    shutil.copytree(held, state)
    with rig.partition(clock=lambda: now) as merging:
        merging.expire_permissions()
    assert len(rig.records()) == 2
    assert statuses(rig.entries()) == {"k1.1": ["given"]}
