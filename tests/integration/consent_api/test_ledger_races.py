"""Many writers at once: nothing is missed, nothing is recorded twice, and a dead writer delays no other."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import TypeVar

import pytest
from sqlalchemy import Connection, Engine, text

from consent_api.domain.validation import ValidDecision
from consent_api.errors import LedgerUnavailableError, RequestInFlightError
from consent_api.ledger import links, submissions
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.idempotency import Request, StoredResponse
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.submissions import Completed, Parsed, Results, Submission
from consent_contracts.codec import Codec
from consent_contracts.decisions import AddressEntry
from consent_contracts.join import join
from consent_contracts.records import entry_from_change
from consent_contracts.topics import Topics
from consent_contracts.verdict import verdict
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.consent_api.accepted import decision

T = TypeVar("T")
_PUBLISHED = "SELECT value FROM outbox UNION ALL SELECT value FROM outbox_bulk"


def withdrawal(subject_ref: str | None, address: str | None = None, event_id: str | None = None) -> ValidDecision:
    return decision(subject_ref=subject_ref, address=address, event_id=event_id)


def at_once(*calls: Callable[[], T]) -> list[T]:
    """The results of calls that all begin together."""
    barrier = Barrier(len(calls))

    def begun(call: Callable[[], T]) -> T:
        barrier.wait(timeout=10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result(timeout=60) for each in [pool.submit(begun, call) for call in calls]]


def execute(connection: Connection, ledger: Ledger) -> StoredResponse:
    """One request under one key, from any caller."""
    submission = Submission(
        request=Request(tenant="acme", key="k1", content=b"x"),
        parse=lambda now: [withdrawal("s1", number(1))],
        answer=_answer,
    )
    (outcome,) = submissions.execute(
        connection, ledger.context, [submission], lane=Lane.LIVE, lock_ms=Lane.LIVE.lock_ms
    )
    if not isinstance(outcome, Completed):
        raise outcome
    assert outcome.answer is not None
    return outcome.answer


def _answer(_: Parsed, results: Results) -> StoredResponse:
    (result,) = results
    assert isinstance(result, RecordedDecision)
    return StoredResponse(status=201, body=result.decision_id.encode())


def number(value: int) -> str:
    return f"+33639980{value:03d}"


def reached(engine: Engine, codec: Codec) -> dict[str, set[str]]:
    """The decisions published for each address_key."""
    found: dict[str, set[str]] = {}
    with engine.connect() as connection:
        for value in connection.execute(text(_PUBLISHED)).scalars():
            datum = codec.decode(Topics().changes, bytes(value))
            found.setdefault(datum["address_key"], set()).add(datum["decision_id"])
    return found


def test_a_link_and_a_refusal_never_miss_one_another(
    ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring
) -> None:
    """Sixteen subjects; for each a link and a refusal at the same moment, in both orders of starting."""
    refusals: dict[str, str] = {}

    def link(subject: str, value: int) -> None:
        named = [("acme", "sms", number(value))]
        now = now_micros()
        ledger.transact(
            lambda c: links.link(c, ledger.context, tenant="acme", subject_ref=subject, named=named, now=now)
        )

    def refuse(subject: str) -> None:
        (outcome,) = ledger.record([withdrawal(subject)])
        assert isinstance(outcome, RecordedDecision)
        refusals[subject] = outcome.decision_id

    for turn in range(8):
        pairs: list[Callable[[], None]] = []
        for value in (2 * turn, 2 * turn + 1):
            subject = f"s{value}"
            pair = [lambda s=subject, v=value: link(s, v), lambda s=subject: refuse(s)]
            pairs += pair if turn % 2 else reversed(pair)
        at_once(*pairs)
    found = reached(owner_engine, codec)
    for value in range(16):
        assert refusals[f"s{value}"] in found[keyring.address_key("acme", "sms", number(value))]


def test_batches_about_the_same_people_in_any_order_all_succeed(
    ledger: Ledger, owner_engine: Engine, codec: Codec
) -> None:
    """Ten batches share subjects, addresses and events, each in an order of its own, on both lanes."""
    shuffle = random.Random(7)
    events = [withdrawal(f"s{value % 20}", number(value), f"e{value}") for value in range(60)]
    batches = [shuffle.sample(events, 40) for _ in range(10)]
    answers = at_once(
        *[
            lambda b=batch, lane=lane: ledger.record([replace(e, bulk=lane is Lane.BULK) for e in b], lane=lane)
            for batch, lane in zip(batches, [Lane.LIVE, Lane.BULK] * 5, strict=True)
        ]
    )
    by_event: dict[str, set[str]] = {}
    for batch, outcomes in zip(batches, answers, strict=True):
        for accepted, outcome in zip(batch, outcomes, strict=True):
            assert isinstance(outcome, RecordedDecision)
            by_event.setdefault(str(accepted.event_id), set()).add(outcome.decision_id)
    assert all(len(ids) == 1 for ids in by_event.values())
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions")).scalar_one() == len(by_event)
        linked = connection.execute(text("SELECT count(*), count(DISTINCT address_id) FROM subject_addresses")).one()
    assert linked[0] == linked[1] == len(by_event)
    # Whichever came first: each address of a subject has the subject's newest refusal.
    found = reached(owner_engine, codec)
    for subject_ref, address_key, newest in _newest_refusals(owner_engine):
        assert newest in found[address_key], f"{subject_ref} was not heard"
    _every_verdict_is_no(owner_engine, codec)


@pytest.mark.parametrize("lane", Lane)
def test_one_event_submitted_by_many_at_once_is_recorded_once(ledger: Ledger, owner_engine: Engine, lane: Lane) -> None:
    event = replace(withdrawal("s1", number(1), "e1"), bulk=lane is Lane.BULK)
    answers = at_once(*[lambda: ledger.record([event], lane=lane)] * 16)
    outcomes = [outcome for (outcome,) in answers if isinstance(outcome, RecordedDecision)]
    assert len(outcomes) == 16
    assert len({each.decision_id for each in outcomes}) == 1
    assert sum(not each.repeated for each in outcomes) == 1
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions")).scalar_one() == 1
        assert connection.execute(text(f"SELECT count(*) FROM {lane.outbox}")).scalar_one() == 1


def test_one_event_on_both_lanes_at_once_is_recorded_once_and_published_live(
    ledger: Ledger, owner_engine: Engine, codec: Codec
) -> None:
    for turn in range(10):
        event = withdrawal("s1", number(1), f"e{turn}")
        live, bulk = (
            (lambda e=event: ledger.record([e])),
            (lambda e=event: ledger.record([replace(e, bulk=True)], lane=Lane.BULK)),
        )
        (first,), (second,) = at_once(live, bulk)
        assert isinstance(first, RecordedDecision)
        assert isinstance(second, RecordedDecision)
        assert first.decision_id == second.decision_id
        with owner_engine.connect() as connection:
            values = connection.execute(text("SELECT value FROM outbox")).scalars().all()
        published = [codec.decode(Topics().changes, bytes(value)) for value in values]
        assert first.decision_id in {each["decision_id"] for each in published if not each["bulk"]}


def test_one_new_address_met_by_many_at_once_becomes_one(ledger: Ledger, owner_engine: Engine) -> None:
    at_once(*[lambda v=value: ledger.record([withdrawal(f"s{v}", number(1))]) for value in range(16)])
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM address_keys")).scalar_one() == 1
        assert connection.execute(text("SELECT count(DISTINCT address_id) FROM decisions")).scalar_one() == 1


def test_two_numbers_of_one_line_refused_by_many_at_once_become_two_addresses(
    ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring
) -> None:
    forms = ("+5511987654321", "+551187654321")
    at_once(*[lambda v=value: ledger.record([withdrawal(f"s{v}", forms[v % 2])]) for value in range(16)])
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM address_keys")).scalar_one() == 2
    found = reached(owner_engine, codec)
    assert found.keys() == {keyring.address_key("acme", "sms", form) for form in forms}
    assert [len(decisions) for decisions in found.values()] == [16, 16]


def test_a_request_sent_many_times_at_once_is_carried_out_once(ledger: Ledger, owner_engine: Engine) -> None:
    def send() -> StoredResponse | None:
        try:
            return ledger.transact(lambda connection: execute(connection, ledger))
        except RequestInFlightError:
            return None

    answers = [each for each in at_once(*[send] * 12) if each is not None]
    answers += [send() or pytest.fail("no request is under way any more")]
    assert len({each.body for each in answers}) == 1
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions")).scalar_one() == 1


def test_a_request_whose_process_died_frees_its_key(ledger: Ledger, engine: Engine, owner_engine: Engine) -> None:
    with engine.connect() as dying:
        execute(dying, ledger)
        with pytest.raises(RequestInFlightError):
            ledger.transact(lambda c: execute(c, ledger))
        with owner_engine.connect() as connection:
            pid = dying.execute(text("SELECT pg_backend_pid()")).scalar_one()
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        dying.invalidate()
    assert ledger.transact(lambda c: execute(c, ledger)).status == 201


def test_a_stored_answer_is_given_while_another_is_being_given_it(ledger: Ledger, engine: Engine) -> None:
    first = ledger.transact(lambda connection: execute(connection, ledger))
    with engine.connect() as other:
        assert execute(other, ledger) == first  # and holds the lock of the key
        assert ledger.transact(lambda connection: execute(connection, ledger)) == first


def test_connections_that_died_are_replaced_and_a_lost_one_is_said(
    ledger: Ledger, owner_engine: Engine, engine: Engine
) -> None:
    ledger.record([withdrawal("s1")])
    with owner_engine.connect() as connection:
        mine = text("""SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()""")
        connection.execute(mine)
    ledger.record([withdrawal("s1")])

    def dies(connection: Connection) -> None:
        with owner_engine.connect() as other:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        connection.execute(text("SELECT 1"))

    with pytest.raises(LedgerUnavailableError):
        ledger.transact(dies)
    ledger.record([withdrawal("s1")])


def _newest_refusals(engine: Engine) -> list[tuple[str, str, str]]:
    """(subject_ref, address_key, decision_id) for each linked address."""
    query = text("""
        SELECT DISTINCT ON (s.subject_ref, k.address_key) s.subject_ref, k.address_key, d.decision_id::text
        FROM subjects s JOIN subject_addresses USING (subject_id) JOIN address_keys k USING (address_id)
        JOIN decisions d ON d.subject_id = s.subject_id
        ORDER BY s.subject_ref, k.address_key, d.effective_at DESC, d.decision_id DESC
    """)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]


def _every_verdict_is_no(engine: Engine, codec: Codec) -> None:
    entries: dict[str, AddressEntry] = {}
    with engine.connect() as connection:
        for value in connection.execute(text(_PUBLISHED)).scalars():
            entry = entry_from_change(codec.decode(Topics().changes, bytes(value)))
            entries[entry.address_key] = join(entries.get(entry.address_key), entry)
    assert {verdict(entry.decisions, "newsletter").reason for entry in entries.values()} == {"withdrawn"}
