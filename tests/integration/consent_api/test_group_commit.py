"""Submissions that share a transaction: fewer of them, and each as if it had been alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import anyio.to_thread
from sqlalchemy import Engine, event, text

from consent_api.domain.validation import ValidDecision
from consent_api.errors import KeyReusedError, LedgerUnavailableError, SubmissionInvalidError
from consent_api.http.group_commit import MAX_LOCK_WAITERS, MOST_REST_SECONDS, GroupCommit
from consent_api.ledger.database import connect
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.idempotency import Request, StoredResponse
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.submissions import Completed, Parsed, Results, Submission
from consent_privacy.errors import UnknownTenantError
from tests.integration.consent_api.accepted import decision


def test_what_comes_while_a_transaction_is_under_way_shares_the_next(ledger: Ledger, owner_engine: Engine) -> None:
    async def story() -> None:
        commits = GroupCommit(ledger)
        with _commits(ledger.engine) as counted:
            done = await asyncio.gather(*(commits.commit_grouped(_submission(number)) for number in range(40)))
        assert len({_decision(each) for each in done}) == 40
        assert counted[0] <= 3

    asyncio.run(story())
    assert _count(owner_engine, "decisions") == _count(owner_engine, "idempotency_keys") == 40


def test_between_shared_transactions_others_have_their_time(ledger: Ledger) -> None:
    rest = 3.0

    async def story() -> list[tuple[int, float, float]]:
        commits = _NotedCommit(ledger, rest=rest)
        sent: list[asyncio.Task[Completed]] = []
        while sum(size > 1 for size, _, _ in commits.noted) < 5:
            sent += [asyncio.create_task(commits.commit_grouped(_submission(len(sent) + n))) for n in range(4)]
            await asyncio.sleep(0.001)
        await asyncio.gather(*sent)
        return commits.noted

    for (size, began, end), (_, next_began, _) in pairwise(asyncio.run(story())):
        assert size == 1 or next_began - end >= min(rest * (end - began), MOST_REST_SECONDS)


def test_one_that_waits_for_a_lock_delays_no_other(ledger: Ledger, owner_engine: Engine) -> None:
    with owner_engine.begin() as connection:
        connection.execute(text("INSERT INTO subjects (tenant, subject_ref, created_at) VALUES ('acme', 's3', 0)"))

    async def story() -> None:
        commits = GroupCommit(ledger)
        with owner_engine.connect() as blocker:
            blocker.execute(text("SELECT 1 FROM subjects FOR UPDATE"))
            began = time.monotonic()
            sent = [asyncio.create_task(commits.commit_grouped(_submission(number))) for number in range(6)]
            others = [each for number, each in enumerate(sent) if number != 3]
            await asyncio.gather(*others)
            await asyncio.gather(*(commits.commit_grouped(_submission(number)) for number in range(10, 20)))
            assert time.monotonic() - began < 4.0
            assert not sent[3].done()
            blocker.rollback()
        assert isinstance(await sent[3], Completed)

    asyncio.run(story())
    assert _count(owner_engine, "decisions") == 16


def test_more_that_wait_for_a_lock_than_there_are_threads_delay_no_other(ledger: Ledger, owner_engine: Engine) -> None:
    with owner_engine.begin() as connection:
        connection.execute(text("INSERT INTO subjects (tenant, subject_ref, created_at) VALUES ('acme', 's3', 0)"))

    async def story() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = MAX_LOCK_WAITERS + 2
        commits = GroupCommit(ledger)
        with owner_engine.connect() as blocker:
            blocker.execute(text("SELECT 1 FROM subjects FOR UPDATE"))
            stuck = [asyncio.create_task(commits.commit_grouped(_submission(3, key=f"stuck{n}"))) for n in range(12)]
            await asyncio.sleep(1.0)
            began = time.monotonic()
            others = [
                commits.commit_grouped(_submission(3, key="stuck")),
                *map(commits.commit_grouped, map(_submission, (5, 6))),
            ]
            one, *rest = [asyncio.create_task(each) for each in others]
            await asyncio.gather(*rest)
            assert time.monotonic() - began < 4.0
            blocker.rollback()
        await asyncio.gather(one, *stuck)

    asyncio.run(story())
    assert _count(owner_engine, "decisions") == 15


def test_one_that_cannot_be_recorded_fails_alone(ledger: Ledger, owner_engine: Engine) -> None:
    async def story() -> None:
        commits = GroupCommit(ledger)
        wrong = _submission(2)
        wrong = replace(wrong, parse=lambda now: [replace(_withdrawal(2), tenant="newcomer")])
        outcomes = await asyncio.gather(
            commits.commit_grouped(_submission(0)),
            commits.commit_grouped(_submission(1)),
            commits.commit_grouped(wrong),
            commits.commit_grouped(_submission(3)),
            return_exceptions=True,
        )
        assert [type(each) for each in outcomes] == [Completed, Completed, UnknownTenantError, Completed]

    asyncio.run(story())
    assert _count(owner_engine, "decisions") == 3


def test_a_refusal_in_a_group_stores_no_answer_and_touches_no_other(ledger: Ledger, owner_engine: Engine) -> None:
    async def story() -> None:
        commits = GroupCommit(ledger)
        refused = replace(_submission(1), parse=lambda now: [SubmissionInvalidError([])])
        first, second, third = await asyncio.gather(
            commits.commit_grouped(_submission(0)),
            commits.commit_grouped(refused),
            commits.commit_grouped(_submission(2)),
        )
        assert second.answer is None
        assert _decision(first) != _decision(third)

    asyncio.run(story())
    assert _count(owner_engine, "decisions") == _count(owner_engine, "idempotency_keys") == 2


def test_one_that_never_fits_into_the_live_lanes_second_goes_by_the_bulk_lane(
    ledger: Ledger, owner_engine: Engine
) -> None:
    with owner_engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$"
            )
        )
        connection.execute(
            text("CREATE TRIGGER slow BEFORE INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION slow()")
        )
    by_bulk: list[int] = []

    async def story() -> None:
        commits = GroupCommit(ledger, on_bulk=lambda: by_bulk.append(1))
        assert _decision(await commits.commit_grouped(_submission(1)))

    try:
        asyncio.run(story())
    finally:
        with owner_engine.begin() as connection:
            connection.execute(text("DROP FUNCTION slow CASCADE"))
    assert by_bulk == [1]
    assert _count(owner_engine, "outbox_bulk") == 1


def test_the_same_request_twice_in_one_group_is_carried_out_once(ledger: Ledger, owner_engine: Engine) -> None:
    async def story() -> None:
        commits = GroupCommit(ledger)
        same, other = _submission(1), replace(_submission(1), request=Request(tenant="acme", key="k1", content=b"y"))
        outcomes = await asyncio.gather(
            *(commits.commit_grouped(each) for each in (_submission(0), same, same, other)), return_exceptions=True
        )
        assert _decision(outcomes[1]) == _decision(outcomes[2])
        assert isinstance(outcomes[3], KeyReusedError)

    asyncio.run(story())
    assert _count(owner_engine, "decisions") == 2


def test_without_a_database_every_caller_in_the_group_gets_the_error(ledger: Ledger) -> None:
    async def story() -> None:
        url = ledger.engine.url.set(port=1)
        unreachable = Ledger(engine=connect(url, pool_size=2, application="tests"), context=ledger.context)
        commits = GroupCommit(unreachable)
        sent = (commits.commit_grouped(_submission(number)) for number in range(5))
        assert {type(each) for each in await asyncio.gather(*sent, return_exceptions=True)} == {LedgerUnavailableError}
        unreachable.engine.dispose()

    asyncio.run(story())


def _withdrawal(number: int) -> ValidDecision:
    return decision(subject_ref=f"s{number}", address=f"+33639980{number:03d}")


def _submission(number: int, *, key: str | None = None) -> Submission:
    request = Request(tenant="acme", key=key or f"k{number}", content=b"x")
    return Submission(request=request, parse=lambda now: [_withdrawal(number)], answer=_answer)


def _answer(_: Parsed, results: Results) -> StoredResponse | None:
    (result,) = results
    return (
        StoredResponse(status=201, body=result.decision_id.encode()) if isinstance(result, RecordedDecision) else None
    )


def _decision(outcome: Completed | BaseException) -> bytes:
    assert isinstance(outcome, Completed)
    assert outcome.answer is not None
    return outcome.answer.body


def _count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


class _NotedCommit(GroupCommit):
    def __init__(self, ledger: Ledger, *, rest: float) -> None:
        super().__init__(ledger, rest=rest)
        self.noted: list[tuple[int, float, float]] = []
        """How many shared each transaction, when it began and when it had ended, in seconds."""

    async def _write_group(self, group: Any) -> None:
        began = time.monotonic()
        await super()._write_group(group)
        self.noted.append((len(group), began, time.monotonic()))


@contextmanager
def _commits(engine: Engine) -> Iterator[list[int]]:
    counted = [0]

    def commit(_: object) -> None:
        counted[0] += 1

    event.listen(engine, "commit", commit)
    try:
        yield counted
    finally:
        event.remove(engine, "commit", commit)
