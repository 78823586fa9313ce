"""Which calls to one destination go, when, and how many at once. Runs on one event loop, without locks.

The states are read when a push is taken from the queue, and their difference is delivered: nothing outdated waits here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from consent_contracts.errors import RegistryUnavailableError
from propagator.config.model import Destination
from propagator.connectors.base import PERMIT, SUPPRESS, Connector, Refused
from propagator.errors import PushNotBuildableError, SenderFencedError
from propagator.metrics import Metrics
from propagator.sending.account_check import AccountCheck
from propagator.sending.bug_report import describe
from propagator.sending.call import Call, CallItem
from propagator.sending.call_results import CallResults
from propagator.sending.circuit_breaker import CircuitBreaker
from propagator.sending.delivery import Delivery, DeliveryPolicy
from propagator.sending.loop_share import LoopShare
from propagator.sending.ports import DestinationState, PendingPush
from propagator.sending.push_spans import PushSpans
from propagator.sending.queued_push import PushKey, QueuedPush
from propagator.sending.rate_limiter import RateLimiter
from propagator.sending.target_quarantine import TargetQuarantine
from propagator.sending.throttle import Throttle
from propagator.sending.window import Window
from propagator.sending.work_queue import BULK, LANES, LIVE, Admission, Lane, WorkQueue
from propagator.timing import (
    ERROR_BACKOFF_SECONDS,
    LATE_CHECK_SECONDS,
    QUEUED_RECEIPT_SECONDS,
    RECHECK_SECONDS,
    STUCK_SECONDS,
)

log = logging.getLogger(__name__)

MAX_FAILED_CHECKS = 3
"""Of the targets, in a row: after as many, a push of each held target is tried instead."""
MAX_QUEUED_RECEIPTS = 50
"""Receipts a round, so that a burst of late revocations does not hold up the event loop."""


class Dispatcher:
    """One destination's calls. `run` within the loop whose clock is `clock`; `now_micros` is the wall clock."""

    def __init__(
        self,
        destination: Destination,
        connector: Connector,
        state: DestinationState,
        metrics: Metrics,
        *,
        queue: WorkQueue,
        policy: DeliveryPolicy,
        limiter: RateLimiter,
        breaker: CircuitBreaker,
        throttle: Throttle,
        quarantine: TargetQuarantine,
        account_check: AccountCheck,
        results: CallResults,
        loop_share: LoopShare,
        on_fatal_error: Callable[[BaseException], None],
        heartbeat: Callable[[], None],
        clock: Callable[[], float],
        now_micros: Callable[[], int],
    ) -> None:
        self._destination = destination
        self._connector = connector
        self._metrics = metrics
        self._queue = queue
        self._policy = policy
        self._limiter = limiter
        self._breaker = breaker
        self._throttle = throttle
        self._quarantine = quarantine
        self._account_check = account_check
        self._results = results
        self._loop_share = loop_share
        self._on_fatal_error = on_fatal_error
        self._heartbeat = heartbeat
        self._clock = clock
        self._now_micros = now_micros
        self._wake = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._recheck: asyncio.Task[None] | None = None
        self._checks_failed = 0
        self._call_ended_at = clock()
        self._draining = False
        self._report_late_at = clock()
        self._window = Window(
            state, queue, quarantine, clock=clock, now_micros=now_micros, answers=lambda: results.answers
        )
        self._prepared: dict[PushKey, CallItem] = {}
        """The pushes that were admitted to the batch in the making."""

    def offer(self, row: PendingPush) -> None:
        """A suppression or permission that is new or has changed."""
        if self._quarantine.is_closed(row.target, row.action):
            self._results.report_waiting(QueuedPush(row=row, sequence=0, queued_at=self._now_micros()))
            return
        is_new = self._queue.offer(row, now=self._clock(), now_micros=self._now_micros(), answers=self._results.answers)
        if is_new and row.live:
            self._loop_share.note_live()
            self._breaker.allow_early_probe()
        self._wake.set()

    async def run(self) -> None:
        """Verify the account, then send for ever."""
        self._results.quarantine(await self._account_check.wait_until_verified())
        while not self._draining:
            if not self._is_stuck():
                self._heartbeat()
            self._wake.clear()
            self._maintain()
            wait = self._start_due_calls()
            if wait == 0.0:
                await asyncio.sleep(0)
                continue
            try:
                async with asyncio.timeout(RECHECK_SECONDS if wait is None else min(wait, RECHECK_SECONDS)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def stop(self, drain_seconds: float) -> None:
        """Start nothing new, wait so long for the calls under way, and cancel the rest."""
        self._draining = True
        self._wake.set()
        if self._calls:
            await asyncio.wait(self._calls, timeout=drain_seconds)
        tasks = [*self._calls, *filter(None, [self._recheck])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Around the calls

    def _maintain(self) -> None:
        now = self._clock()
        self._queue.promote(now, self._now_micros())
        self._window.refill()
        if now >= self._report_late_at:
            self._report_late_at = now + LATE_CHECK_SECONDS
            self._report_late()
        if self._recheck is not None and not self._recheck.done():
            return
        if self._quarantine.check_is_due() or self._account_check.is_due():
            self._recheck = self._spawn(self._check_targets)

    def _report_late(self) -> None:
        """Live revocations that are not delivered within QUEUED_RECEIPT_SECONDS, or that an open breaker holds up."""
        now_micros = self._now_micros()
        late = now_micros if self._breaker.is_open else now_micros - int(QUEUED_RECEIPT_SECONDS * 1_000_000)
        for push in self._queue.take_late(late, limit=MAX_QUEUED_RECEIPTS):
            self._results.report_waiting(push)

    def _is_stuck(self) -> bool:
        """Whether calls are under way and none of them moves."""
        moved_at = max(self._call_ended_at, self._limiter.last_request_at)
        longest = STUCK_SECONDS + 2 / self._destination.limits.calls_per_second
        return bool(self._calls) and self._clock() - moved_at > longest

    async def _check_targets(self) -> None:
        unknown = await self._account_check.recheck()
        self._checks_failed = self._checks_failed + 1 if unknown is None else 0
        if self._checks_failed >= MAX_FAILED_CHECKS:
            unknown = {}  # A push finds out, too, and may be taken although the tool's answers to checks are refused.
        if unknown is not None:
            self._results.quarantine(
                {
                    each: fix
                    for each, fix in unknown.items()
                    if not all(self._quarantine.is_closed(each, action) for action in (SUPPRESS, PERMIT))
                }
            )
            if self._quarantine.checked(unknown):
                self._queue.expect_more()
            self._wake.set()

    # The calls

    def _start_due_calls(self) -> float | None:
        """Start every call that may go now. Returns the seconds until the next may; None: an event comes first."""
        while not self._draining and len(self._calls) < self._destination.limits.concurrency:
            if not self._policy.may_send():
                return RECHECK_SECONDS
            breaker = self._breaker.seconds_until_permitted(len(self._calls))
            if breaker is None or breaker > 0:
                return breaker
            lanes, wait = self._open_lanes()
            items = self._next_batch(lanes)
            if not items:
                due = self._queue.seconds_until_due(lanes, self._clock())
                return min((each for each in (wait, due) if each is not None), default=None)
            self._start_call(items)
        return None

    def _open_lanes(self) -> tuple[list[Lane], float | None]:
        """The lanes of which a call may start now, in order, and the seconds until another one opens."""
        bulk_first = self._limiter.bulk_is_due and any(self._queue.has_ready(lane) for lane in BULK)
        lanes: list[Lane] = []
        waits: list[float] = []
        for lane in (*BULK, *LIVE) if bulk_first else LANES:
            if not self._queue.has_ready(lane) or not self._has_slot(lane):
                continue
            wait = max(
                self._limiter.seconds_until_call(live=lane.live),
                self._throttle.seconds_until_permitted(lane.action),
            )
            if wait > 0:
                waits.append(wait)
            else:
                lanes.append(lane)
        return lanes, min(waits, default=None)

    def _has_slot(self, lane: Lane) -> bool:
        """Slow bulk calls, and permissions that wait for their commit, leave a connection for a live revocation."""
        concurrency = self._destination.limits.concurrency
        return lane == LIVE[0] or concurrency == 1 or len(self._calls) < concurrency - 1

    def _next_batch(self, lanes: Sequence[Lane]) -> list[CallItem]:
        if not lanes:
            return []
        self._prepared.clear()
        batch = self._queue.take(
            lanes,
            now=self._clock(),
            now_micros=self._now_micros(),
            at_once=self._limiter.has_spare_tokens,
            probing=self._breaker.failures > 0,
            outages=self._breaker.outages,
            fill_up=self._has_slot(BULK[0]),
            admit=self._admit,
            together=self._policy.together,
        )
        return [self._prepared[push.key] for push in batch]

    def _admit(self, push: QueuedPush) -> Admission:
        """Whether the push goes into the batch in the making. What goes wrong concerns its address alone."""
        if self._quarantine.is_closed(push.row.target, push.action):
            self._results.report_waiting(push)
            return Admission.DROPPED
        try:
            return self._prepare(push)
        except RegistryUnavailableError:
            # The entry's schema cannot be read for now; the state reports it, once for all addresses.
            self._queue.delay(push, ERROR_BACKOFF_SECONDS, now=self._clock())
            return Admission.MOVED
        except Exception as error:
            self._metrics.push_errors.labels(self._destination.name, "build").inc()
            log.error("push not built", extra={"destination": self._destination.name, "why": describe(error)})
            self._queue.delay(push, ERROR_BACKOFF_SECONDS, now=self._clock())
            return Admission.MOVED

    def _prepare(self, push: QueuedPush) -> Admission:
        push.waits_for_permission = False
        address_key, target = push.key
        if push.action == PERMIT and self._policy.hindrance(address_key) is not None:
            self._metrics.deferred.labels(self._destination.name, PERMIT).inc()
            push.waits_for_permission = True
            self._queue.delay(push, RECHECK_SECONDS, now=self._clock())
            return Admission.MOVED
        live_since = push.row.since if push.live and push.action == SUPPRESS else None
        delivery = self._policy.plan(
            address_key, target, queued_at=push.queued_at, attempts=push.attempts, live_since=live_since
        )
        if delivery is None:
            return Admission.DROPPED
        planned, now_micros = delivery.planned, self._now_micros()
        row = PendingPush(
            address_key=address_key,
            target=target,
            kind=planned.state.action,
            live=planned.live,
            since=planned.since,
            not_before=planned.not_before,
        )
        if (row.kind, row.live) != (push.row.kind, push.row.live) or row.not_before > now_micros:
            self._queue.offer(row, now=self._clock(), now_micros=now_micros, answers=self._results.answers)
            return Admission.MOVED
        try:
            built = self._policy.build(delivery)
        except PushNotBuildableError as error:
            if not error.retryable:
                self._policy.on_refused(delivery, Refused(code=error.code), now=now_micros)
                return Admission.DROPPED
            log.error(
                "address cannot be unsealed",
                extra={"destination": self._destination.name, "why": error.code, "trace_id": _trace_id(delivery)},
            )
            seconds = self._policy.on_failed(delivery, error.code, sent=False)
            self._queue.delay(push, seconds, now=self._clock())
            return Admission.MOVED
        self._prepared[push.key] = CallItem(queued=push, delivery=delivery, push=built)
        self._quarantine.started(target, planned.state.action)
        return Admission.ADMITTED

    def _start_call(self, items: Sequence[CallItem]) -> None:
        call = Call(items=sorted(items, key=lambda item: not item.queued.live), started_at=self._clock())
        if call.live:
            self._loop_share.note_live()
        self._limiter.take(live=items[0].queued.live)
        self._throttle.record_started()
        for item in items:
            item.queued.attempts += 1
        task = self._spawn(partial(self._execute, call))
        self._calls.add(task)
        task.add_done_callback(self._call_ended)

    def _call_ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._call_ended_at = self._clock()
        self._wake.set()

    async def _execute(self, call: Call) -> None:
        budget = self._limiter.budget(live=call.live, prepaid=1)
        push_spans = PushSpans(self._destination.name, call)
        try:
            try:
                outcomes = await call.execute(self._connector, self._policy, budget)
            except asyncio.CancelledError:
                raise
            except SenderFencedError:
                log.warning("another process is the active sender", extra={"destination": self._destination.name})
                self._results.abandon(call)
                self._draining = True
                return
            except Exception as error:
                push_spans.failed(error)
                result = self._results.on_failure(call, error)
            else:
                push_spans.answered(outcomes)
                result = await self._results.on_outcomes(call, outcomes)
        except asyncio.CancelledError:
            self._results.abandon(call)
            raise
        self._metrics.calls.labels(self._destination.name, result).inc()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        return asyncio.create_task(self._guarded(work))

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What is not about one push is a bug that ends the process."""
        try:
            await work()
        except Exception as error:
            log.exception("bug in the dispatcher of a destination", extra={"destination": self._destination.name})
            self._on_fatal_error(error)


def _trace_id(delivery: Delivery) -> str | None:
    return delivery.trace.trace_id if delivery.trace is not None else None
