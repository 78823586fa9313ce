"""Submissions that come while a transaction is under way share the next one.

A quiet process writes each at once. The busier it is, the more share a transaction, whose number of statements does not
grow with them: the database and this process work less for each, just when it matters. Only the live lane does this:
a bulk request is a batch already.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

import anyio
import anyio.to_thread

from consent_api.errors import LedgerContended, LedgerUnavailable, TransactionTooLongError
from consent_api.ledger.idempotency import InFlight
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger, patiently
from consent_api.ledger.submissions import Done, Outcome, Submission, carry_out

log = logging.getLogger(__name__)

MOST_TOGETHER = 64
GROUP_LOCK_MS = 200
"""How long a group waits for another's lock. A submission that needs longer is retried in transactions of its own and
does not delay the group."""
MOST_PATIENT = 3

_Waiting = tuple[Submission, asyncio.Future[Done]]
_Key = tuple[str, str]


class GroupCommit:
    """The way of submissions into the ledger. `together` belongs to one event loop, `alone` to any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: deque[_Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._apart: dict[_Key, asyncio.Task[None]] = {}
        self._patient = anyio.CapacityLimiter(MOST_PATIENT)
        self._thread = anyio.CapacityLimiter(1)
        """Of its own: when all others wait for locks, the writer goes on."""

    async def together(self, submission: Submission) -> Done:
        """Returns once it is committed. InFlight, KeyReused, LedgerUnavailable, or what `record` raises for it."""
        done: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="group commit")
        return await done

    def alone(self, submission: Submission, lane: Lane) -> Done:
        """In a transaction of its own; blocks until it is committed. Raises as `together`."""
        outcome = self._commit_patiently(submission, lane)
        if isinstance(outcome, Done):
            return outcome
        raise outcome

    async def _write(self) -> None:
        try:
            while self._waiting:
                if group := self._next():
                    await self._write_group(group)
        finally:
            self._writer = None

    def _next(self) -> list[_Waiting]:
        """Who goes next. Of two with one key the second waits for the first's answer, unless that waits apart."""
        group: dict[_Key, _Waiting] = {}
        later: list[_Waiting] = []
        while self._waiting and len(group) < MOST_TOGETHER:
            submission, done = each = self._waiting.popleft()
            key = _key(submission)
            if key in self._apart:
                _settle(done, InFlight())
            elif key in group:
                later.append(each)
            else:
                group[key] = each
        self._waiting.extendleft(reversed(later))
        return list(group.values())

    async def _write_group(self, group: Sequence[_Waiting]) -> None:
        """A failure that may concern only some of the group is tried again by each alone."""
        submissions = [submission for submission, _ in group]
        try:
            outcomes = await anyio.to_thread.run_sync(
                self._commit, submissions, Lane.LIVE, GROUP_LOCK_MS, limiter=self._thread
            )
        except (LedgerContended, TransactionTooLongError):
            self._part(group)
        except LedgerUnavailable as away:
            # Those that wait are answered now, not in their turn: each turn takes as long as it takes to find out.
            while self._waiting:
                group = [*group, self._waiting.popleft()]
            for _, done in group:
                _settle(done, LedgerUnavailable(str(away), retry_after=away.retry_after))
        except Exception as failure:
            log.warning(
                "group commit failed, retrying submissions individually",
                extra={"size": len(group), "why": type(failure).__name__},
            )
            self._part(group)
        else:
            for (_, done), outcome in zip(group, outcomes, strict=True):
                _settle(done, outcome)

    def _part(self, group: Sequence[_Waiting]) -> None:
        for submission, done in group:
            self._apart[_key(submission)] = asyncio.create_task(self._write_alone(submission, done))

    async def _write_alone(self, submission: Submission, done: asyncio.Future[Done]) -> None:
        """Most can be recorded at once. Those that do have to wait for a lock take some of the threads, never all."""
        outcome: Outcome | Exception
        try:
            try:
                (outcome,) = await anyio.to_thread.run_sync(self._commit, [submission], Lane.LIVE, GROUP_LOCK_MS)
            except (LedgerContended, TransactionTooLongError):
                async with self._patient:
                    outcome = await anyio.to_thread.run_sync(self._commit_patiently, submission, Lane.LIVE)
        except Exception as failure:
            outcome = failure
        del self._apart[_key(submission)]
        _settle(done, outcome)

    def _commit_patiently(self, submission: Submission, lane: Lane) -> Outcome:
        (outcome,) = patiently(lambda: self._commit([submission], lane, lane.lock_ms))
        return outcome

    def _commit(self, submissions: Sequence[Submission], lane: Lane, lock_ms: int) -> list[Outcome]:
        ledger = self._ledger
        return ledger.transact(
            lambda connection: carry_out(
                connection, ledger.desk, submissions, lane=lane, now=ledger.clock(), lock_ms=lock_ms
            )
        )


def _key(submission: Submission) -> _Key:
    return submission.request.tenant, submission.request.key


def _settle(done: asyncio.Future[Done], outcome: Done | Exception) -> None:
    if done.done():
        return  # Whoever asked has gone.
    if isinstance(outcome, Done):
        done.set_result(outcome)
    else:
        done.set_exception(outcome)
