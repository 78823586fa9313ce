"""Two lanes in the ledger: which outbox a transaction writes, which mark a decision keeps, and who waits for whom."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from consent_api.domain.validation import ValidDecision
from consent_api.errors import SubmissionInvalidError, TransactionTooLongError
from consent_api.http.group_commit import GroupCommit
from consent_api.ledger import lanes, links
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.idempotency import Request, StoredResponse
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import MAX_TOO_LONG, Ledger
from consent_api.ledger.recording import record as record_in
from consent_api.ledger.submissions import Completed, Submission
from consent_contracts.codec import Codec
from consent_contracts.decisions import AddressEntry
from consent_contracts.join import join
from consent_contracts.partitioner import partition_of
from consent_contracts.records import entry_from_change
from consent_contracts.topics import Topics
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.consent_api.accepted import decision

A, B, C = "+33639980001", "+33639980002", "+33639980003"


def record(ledger: Ledger, lane: Lane, *accepted: ValidDecision) -> list[RecordedDecision]:
    """Recorded in one transaction, each with the lane as its mark."""
    marked = [replace(each, bulk=lane is Lane.BULK) for each in accepted]
    outcomes = [each for each in ledger.record(marked, lane=lane) if isinstance(each, RecordedDecision)]
    assert len(outcomes) == len(accepted)
    return outcomes


def messages(engine: Engine, codec: Codec, lane: Lane) -> list[dict[str, Any]]:
    """What a lane's outbox holds, in its order; each row names the lane's topic and the partition of its key."""
    topic = lane.changes(Topics())
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT * FROM {lane.outbox} ORDER BY outbox_id")).all()
    assert all(row.topic == topic and row.partition == partition_of(bytes(row.key), 4) for row in rows)
    return [codec.decode(topic, bytes(row.value)) for row in rows]


def emptied(engine: Engine) -> None:
    """As after the relays have published everything."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM outbox"))
        connection.execute(text("DELETE FROM outbox_bulk"))


def number(value: int) -> str:
    return f"+3363998{value:04d}"


@pytest.mark.parametrize(("lane", "other"), [(Lane.LIVE, Lane.BULK), (Lane.BULK, Lane.LIVE)])
def test_a_transaction_writes_the_outbox_of_its_lane_only(
    ledger: Ledger, owner_engine: Engine, codec: Codec, lane: Lane, other: Lane
) -> None:
    record(ledger, lane, *(decision(subject_ref=f"s{each}", address=number(each)) for each in range(40)))
    written = messages(owner_engine, codec, lane)
    assert len(written) == 40
    assert {each["bulk"] for each in written} == {lane is Lane.BULK}
    assert messages(owner_engine, codec, other) == []


def test_refusals_that_an_imported_address_inherits_go_by_the_bulk_lane_and_stay_live(
    ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring
) -> None:
    (refusal,) = record(ledger, Lane.LIVE, decision("withdrawn", subject_ref="s1", address=A))
    emptied(owner_engine)
    (imported,) = record(ledger, Lane.BULK, decision("given", subject_ref="s1", address=B, purpose="survey"))
    assert messages(owner_engine, codec, Lane.LIVE) == []
    marks = {each["decision_id"]: each["bulk"] for each in messages(owner_engine, codec, Lane.BULK)}
    assert marks == {refusal.decision_id: False, imported.decision_id: True}


def test_imported_refusals_that_a_linked_address_inherits_go_by_the_live_lane_and_stay_bulk(
    ledger: Ledger, owner_engine: Engine, codec: Codec
) -> None:
    record(ledger, Lane.BULK, decision("withdrawn", subject_ref="s1", address=A))
    emptied(owner_engine)
    link(ledger, "s1", B)
    assert messages(owner_engine, codec, Lane.BULK) == []
    assert [each["bulk"] for each in messages(owner_engine, codec, Lane.LIVE)] == [True]


class TestLiveRepetition:
    """A live request that repeats a bulk decision."""

    def test_it_publishes_the_decision_again_live_for_every_address_that_it_has_reached(
        self, ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring
    ) -> None:
        event = decision("withdrawn", subject_ref="s1", address=A, event_id="e1")
        (first,) = record(ledger, Lane.BULK, event)
        link(ledger, "s1", B)
        record(ledger, Lane.BULK, decision("given", subject_ref="s1", address=C, purpose="survey"))
        emptied(owner_engine)
        (again,) = record(ledger, Lane.LIVE, event)
        assert again == replace(first, repeated=True, address_keys=again.address_keys)
        written = messages(owner_engine, codec, Lane.LIVE)
        assert {each["address_key"] for each in written} == {
            keyring.address_key("acme", "sms", each) for each in (A, B, C)
        }
        assert {(each["decision_id"], each["bulk"], each["status"]) for each in written} == {
            (first.decision_id, False, "withdrawn")
        }
        assert messages(owner_engine, codec, Lane.BULK) == []

    def test_the_ledger_remembers_that_the_decision_is_live(
        self, ledger: Ledger, owner_engine: Engine, codec: Codec
    ) -> None:
        event = decision("withdrawn", subject_ref="s1", address=A, event_id="e1")
        record(ledger, Lane.BULK, event)
        record(ledger, Lane.LIVE, event)
        emptied(owner_engine)
        record(ledger, Lane.LIVE, event)
        record(ledger, Lane.BULK, event)
        assert messages(owner_engine, codec, Lane.LIVE) == messages(owner_engine, codec, Lane.BULK) == []
        record(ledger, Lane.BULK, decision("given", subject_ref="s1", address=B, purpose="survey"))
        inherited = [each for each in messages(owner_engine, codec, Lane.BULK) if each["status"] == "withdrawn"]
        assert [each["bulk"] for each in inherited] == [False]

    def test_a_bulk_repetition_of_either_changes_nothing(
        self, ledger: Ledger, owner_engine: Engine, codec: Codec
    ) -> None:
        live, bulk = (decision(subject_ref="s1", address=A, event_id=each) for each in ("e1", "e2"))
        record(ledger, Lane.LIVE, live)
        record(ledger, Lane.BULK, bulk)
        emptied(owner_engine)
        record(ledger, Lane.BULK, live, bulk)
        assert messages(owner_engine, codec, Lane.LIVE) == messages(owner_engine, codec, Lane.BULK) == []

    def test_another_choice_under_the_same_id_is_refused_and_publishes_nothing(
        self, ledger: Ledger, owner_engine: Engine, codec: Codec
    ) -> None:
        record(ledger, Lane.BULK, decision("withdrawn", subject_ref="s1", address=A, event_id="e1"))
        (outcome,) = ledger.record([decision("objected", subject_ref="s1", address=A, event_id="e1")])
        assert isinstance(outcome, SubmissionInvalidError)
        assert messages(owner_engine, codec, Lane.LIVE) == []

    def test_a_refusal_that_has_reached_no_address_is_inherited_live_afterwards(
        self, ledger: Ledger, owner_engine: Engine, codec: Codec
    ) -> None:
        event = decision("withdrawn", subject_ref="s1", event_id="e1")
        record(ledger, Lane.BULK, event)
        record(ledger, Lane.LIVE, event)
        link(ledger, "s1", A)
        assert [each["bulk"] for each in messages(owner_engine, codec, Lane.LIVE)] == [False]

    def test_of_many_at_once_one_publishes_and_each_gets_the_first_answer(
        self, ledger: Ledger, owner_engine: Engine, codec: Codec
    ) -> None:
        event = decision("withdrawn", subject_ref="s1", address=A, event_id="e1")
        (first,) = record(ledger, Lane.BULK, event)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: record(ledger, Lane.LIVE, event)[0], range(8)))
        assert {each.decision_id for each in answers} == {first.decision_id}
        assert len(messages(owner_engine, codec, Lane.LIVE)) == 1

    def test_no_address_that_is_linked_at_the_same_moment_keeps_a_bulk_copy_only(
        self, ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring
    ) -> None:
        for turn in range(10):
            person, event_id = f"s{turn}", f"e{turn}"
            event = decision("withdrawn", subject_ref=person, address=number(turn), event_id=event_id)
            record(ledger, Lane.BULK, event)
            other = number(100 + turn)
            with ThreadPoolExecutor(2) as pool:
                calls = [lambda e=event: record(ledger, Lane.LIVE, e), lambda p=person, o=other: link(ledger, p, o)]
                for call in [pool.submit(each) for each in (calls if turn % 2 else reversed(calls))]:
                    call.result()
            live = {each["address_key"] for each in messages(owner_engine, codec, Lane.LIVE) if not each["bulk"]}
            assert keyring.address_key("acme", "sms", other) in live


class TestLocks:
    """An import holds the locks on its people for as long as it takes."""

    def test_a_live_decision_about_another_person_does_not_wait(self, ledger: Ledger) -> None:
        with held(ledger, "imported"):
            began = time.monotonic()
            record(ledger, Lane.LIVE, decision(subject_ref="another", address=B))
            assert time.monotonic() - began < 0.5

    def test_a_live_decision_about_the_same_person_outlasts_the_limit_of_its_transactions(self, ledger: Ledger) -> None:
        commits = GroupCommit(ledger)
        with held(ledger, "imported", seconds=1.5), ThreadPoolExecutor(1) as pool:
            submission = Submission(
                request=Request(tenant="acme", key="k", content=b"x"),
                parse=lambda now: [decision(subject_ref="imported", address=B)],
                answer=lambda parsed, results: StoredResponse(status=201, body=b"{}"),
            )
            done = pool.submit(commits.commit_single, submission, Lane.LIVE).result(timeout=10)
        assert isinstance(done, Completed)
        assert isinstance(done.results[0], RecordedDecision)


class TestTimeLimits:
    """A relay's turn waits for every transaction that writes the lane's outbox."""

    @pytest.mark.parametrize("in_statement", [True, False])
    def test_a_live_transaction_ends_after_a_second(self, ledger: Ledger, in_statement: bool) -> None:
        def work(connection: Connection) -> None:
            lanes.limit(connection, Lane.LIVE)
            if in_statement:
                connection.execute(text("SELECT pg_sleep(2)"))
            else:
                threading.Event().wait(1.2)  # As a process that is frozen in its transaction.
                connection.execute(text("SELECT 1"))

        with pytest.raises(TransactionTooLongError):
            ledger.transact(work)

    def test_its_work_is_tried_several_times_and_then_refused(self, ledger: Ledger) -> None:
        runs: list[int] = []

        def work(connection: Connection, now: int) -> None:
            runs.append(1)
            connection.execute(text("SELECT pg_sleep(5)"))

        with pytest.raises(TransactionTooLongError):
            ledger.write(Lane.LIVE, work)
        assert len(runs) == MAX_TOO_LONG

    def test_a_bulk_transaction_may_take_longer(self, ledger: Ledger) -> None:
        ledger.write(Lane.BULK, lambda connection, now: connection.execute(text("SELECT pg_sleep(1.5)")))

    def test_the_limits_end_with_the_transaction(self, ledger: Ledger, engine: Engine) -> None:
        ledger.write(Lane.LIVE, lambda connection, now: None)
        with engine.connect() as connection:
            assert connection.execute(text("SHOW transaction_timeout")).scalar_one() == "0"


def test_a_history_has_one_state_whatever_lanes_it_took(ledger: Ledger, owner_engine: Engine, codec: Codec) -> None:
    """Grants, refusals, links and repetitions, each on a random lane: every mark and every lane gives one state."""
    draw = random.Random(8)
    now = now_micros()
    events: list[ValidDecision] = []
    for each in range(120):
        status = draw.choice(["given", "withdrawn", "refused"])
        events.append(
            decision(
                status,
                subject_ref=f"s{draw.randrange(12)}",
                address=draw.choice([None, number(draw.randrange(20))]),
                purpose=draw.choice(["newsletter", "survey"]),
                event_id=f"e{each}",
                effective_at=now - 10_000_000 * each,
            )
        )
    for _ in range(40):
        lane = draw.choice(list(Lane))
        record(ledger, lane, *draw.sample(events, 8))
    published = {lane: messages(owner_engine, codec, lane) for lane in Lane}
    assert all(published.values())
    assert _verdicts(published[Lane.LIVE] + published[Lane.BULK]) == _verdicts(
        draw.sample(
            [{**each, "bulk": False} for lane in Lane for each in published[lane]], sum(map(len, published.values()))
        )
    )
    with owner_engine.connect() as connection:
        rows = connection.execute(
            text("""SELECT r.address_id, d.decision_id::text AS decision_id FROM decision_addresses r
                    JOIN decisions d USING (decision_id)""")
        ).all()
    sent = {each["decision_id"] for lane in Lane for each in published[lane]}
    assert {row.decision_id for row in rows} == sent, "what is recorded for an address is published on one lane or both"


def _verdicts(data: list[dict[str, Any]]) -> Mapping[str, object]:
    state: dict[str, AddressEntry] = {}
    for datum in data:
        entry = entry_from_change(datum)
        state[entry.address_key] = join(state.get(entry.address_key), entry)
    return {
        key: sorted((d.subject_ref or "", d.purpose, d.decision_id, d.status) for d in entry.decisions)
        for key, entry in state.items()
    }


def link(ledger: Ledger, subject_ref: str, address: str) -> None:
    ledger.write(
        Lane.LIVE,
        lambda connection, now: links.link(
            connection,
            ledger.context,
            tenant="acme",
            subject_ref=subject_ref,
            named=[("acme", "sms", address)],
            now=now,
        ),
    )


@contextmanager
def held(ledger: Ledger, subject_ref: str, *, seconds: float = 30.0) -> Iterator[None]:
    """A bulk transaction that has recorded for the subject and has not ended, for `seconds` or until the block ends."""
    recorded, leave = threading.Event(), threading.Event()

    def work(connection: Connection, now: int) -> None:
        record_in(connection, ledger.context, [decision(subject_ref=subject_ref, address=A, bulk=True)], lane=Lane.BULK)
        recorded.set()
        leave.wait(seconds)

    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(ledger.write, Lane.BULK, work)
        try:
            assert recorded.wait(10)
            yield
        finally:
            leave.set()
            ending.result(timeout=30)
