"""Submissions that come while a transaction is under way share the next one.

A quiet process writes each at once. The busier it is, the more share a transaction, whose number of statements does not
grow with them: the database and this process work less for each, just when it matters. Only the live lane does this:
a bulk request is a batch already.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread

from consent_api.errors import (
    LedgerContendedError,
    LedgerUnavailableError,
    RequestInFlightError,
    TransactionTooLongError,
)
from consent_api.http.tenant_turns import TenantTurns
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger, patiently
from consent_api.ledger.submissions import Completed, Outcome, Submission, execute
from consent_service import request_ids, spans
from consent_service.trace_context import TraceContext

log = logging.getLogger(__name__)

MAX_GROUP_SIZE = 64
GROUP_LOCK_TIMEOUT_MS = 200
"""How long a group waits for another's lock. A submission that needs longer is retried in transactions of its own and
does not delay the group."""
MAX_LOCK_WAITERS = 3
MOST_REST_SECONDS = 0.25

_Waiting = tuple[Submission, asyncio.Future[Completed]]
_Key = tuple[str, str]


class GroupCommit:
    """Commits submissions. `commit_grouped` belongs to one event loop, `commit_single` to any thread."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        turns: TenantTurns | None = None,
        lock_waiters: int = MAX_LOCK_WAITERS,
        on_bulk: Callable[[], None] = lambda: None,
        rest: float = 0.0,
    ) -> None:
        """Without `turns` those that are retried individually wait for threads in the order in which they came; so many
        of them at once wait there for locks as `lock_waiters` says.
        `on_bulk` is called for each grouped submission that went by the bulk lane. After a shared transaction the
        next begins `rest` times as long later as that one took: others' commits do not wait behind its flush of the
        write-ahead log, and the groups become larger and fewer."""
        self._ledger = ledger
        self._turns = turns or TenantTurns(MAX_GROUP_SIZE)
        self._rest = rest
        self._on_bulk = on_bulk
        self._waiting: deque[_Waiting] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._individual: dict[_Key, asyncio.Task[None]] = {}
        self._lock_waiters = anyio.CapacityLimiter(lock_waiters)
        self._thread = anyio.CapacityLimiter(1)
        """Of its own: when all others wait for locks, the writer goes on."""

    async def commit_grouped(self, submission: Submission) -> Completed:
        """Returns once it is committed. RequestInFlightError, KeyReusedError, LedgerUnavailableError, or what `record`
        raises for it."""
        done: asyncio.Future[Completed] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="group commit", context=request_ids.of_no_request())
        return await done

    def commit_single(self, submission: Submission, lane: Lane) -> Completed:
        """In a transaction of its own; blocks until it is committed. Raises as `commit_grouped`."""
        outcome = self._commit_patiently(submission, lane)
        if isinstance(outcome, Completed):
            return outcome
        raise outcome

    async def _write(self) -> None:
        try:
            while self._waiting:
                if group := self._next():
                    began = time.monotonic()
                    await self._write_group(group)
                    if len(group) > 1:
                        await asyncio.sleep(min(self._rest * (time.monotonic() - began), MOST_REST_SECONDS))
        finally:
            self._writer = None

    def _next(self) -> list[_Waiting]:
        """Who goes next. Of two with one key the second waits for the first's answer, unless that waits apart."""
        group: dict[_Key, _Waiting] = {}
        later: list[_Waiting] = []
        while self._waiting and len(group) < MAX_GROUP_SIZE:
            submission, done = each = self._waiting.popleft()
            key = _key(submission)
            if key in self._individual:
                _settle(done, RequestInFlightError())
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
                self._commit, submissions, Lane.LIVE, GROUP_LOCK_TIMEOUT_MS, limiter=self._thread
            )
        except (LedgerContendedError, TransactionTooLongError):
            self._retry_individually(group)
        except LedgerUnavailableError as error:
            # Those that wait are answered now, not in their turn: each turn takes as long as it takes to find out.
            while self._waiting:
                group = [*group, self._waiting.popleft()]
            for _, done in group:
                _settle(done, LedgerUnavailableError(str(error), retry_after=error.retry_after))
        except Exception as failure:
            log.warning(
                "group commit failed, retrying submissions individually",
                extra={"size": len(group), "why": type(failure).__name__},
            )
            self._retry_individually(group)
        else:
            for (_, done), outcome in zip(group, outcomes, strict=True):
                _settle(done, outcome)

    def _retry_individually(self, group: Sequence[_Waiting]) -> None:
        for submission, done in group:
            self._individual[_key(submission)] = asyncio.create_task(self._write_individually(submission, done))

    async def _write_individually(self, submission: Submission, done: asyncio.Future[Completed]) -> None:
        """Most can be recorded at once. Those that do have to wait for a lock take some of the threads, never all."""
        outcome: Outcome | Exception
        turn = self._turns.of(submission.request.tenant)
        try:
            try:
                async with turn:
                    (outcome,) = await anyio.to_thread.run_sync(
                        self._commit, [submission], Lane.LIVE, GROUP_LOCK_TIMEOUT_MS
                    )
            except (LedgerContendedError, TransactionTooLongError):
                # The turn first: who waits for it keeps no other tenant's from waiting for its lock.
                async with turn, self._lock_waiters:
                    outcome = await anyio.to_thread.run_sync(self._commit_live, submission)
        except Exception as failure:
            outcome = failure
        del self._individual[_key(submission)]
        _settle(done, outcome)

    def _commit_patiently(self, submission: Submission, lane: Lane) -> Outcome:
        (outcome,) = patiently(lambda: self._commit([submission], lane, lane.lock_ms))
        return outcome

    def _commit_live(self, submission: Submission) -> Outcome:
        """Where it does not fit into the live lane's time it goes by the bulk lane, with its own mark."""
        try:
            return self._commit_patiently(submission, Lane.LIVE)
        except TransactionTooLongError:
            outcome = self._commit_patiently(submission, Lane.BULK)
            self._on_bulk()
            log.warning("a live decision was recorded by the bulk lane", extra=_trace_id(submission.trace))
            return outcome

    def _commit(self, submissions: Sequence[Submission], lane: Lane, lock_ms: int) -> list[Outcome]:
        ledger, start = self._ledger, spans.now()
        outcomes = ledger.transact(
            lambda connection: execute(connection, ledger.context, submissions, lane=lane, lock_ms=lock_ms),
            limit_seconds=lane.limit_seconds,
        )
        if spans.is_on():
            attributes = {"consent_relay.submissions": len(submissions), "consent_relay.lane": lane.value}
            for each in submissions:
                spans.end_child("ledger commit", each.trace, start=start, attributes=attributes)
        return outcomes


def _trace_id(trace: TraceContext | None) -> dict[str, str]:
    return {"trace_id": trace.trace_id} if trace is not None else {}


def _key(submission: Submission) -> _Key:
    return submission.request.tenant, submission.request.key


def _settle(done: asyncio.Future[Completed], outcome: Completed | Exception) -> None:
    if done.done():
        return  # The caller has gone.
    if isinstance(outcome, Completed):
        done.set_result(outcome)
    else:
        done.set_exception(outcome)
