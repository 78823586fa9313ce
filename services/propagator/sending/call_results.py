"""What follows from a call: for its pushes, for the destination, and for its targets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

from propagator.connectors.base import SUPPRESS, Accepted, Action, Outcome, Refused, Retryable
from propagator.errors import (
    CallFailedError,
    DestinationDownError,
    MisconfiguredError,
    SenderFencedError,
    SendNotAllowedError,
    ThrottledError,
    UnknownTargetsError,
)
from propagator.metrics import Metrics
from propagator.sending.bug_report import describe
from propagator.sending.call import Call, CallItem
from propagator.sending.circuit_breaker import CircuitBreaker
from propagator.sending.delivery import DeliveryPolicy
from propagator.sending.loop_share import LoopShare
from propagator.sending.queued_push import QueuedPush
from propagator.sending.refusals import Answered, Refusals, Ruling, TargetAction
from propagator.sending.target_quarantine import TargetQuarantine
from propagator.sending.throttle import Throttle
from propagator.sending.work_queue import WorkQueue
from propagator.timing import (
    ERROR_BACKOFF_SECONDS,
    HOLD_SECONDS,
    MAX_REFUSED_RETRY_SECONDS,
    MAX_REVOCATION_INTERVAL_SECONDS,
    REFUSED_RETRY_SECONDS,
)

log = logging.getLogger(__name__)

ALONE_AFTER_FAILURES = 2
SLICE = 100
"""Outcomes that are recorded in one turn of the event loop: about 10 ms."""


class CallResults:
    """One destination's. `clock` gives the loop's seconds, `now_micros` the wall clock."""

    def __init__(
        self,
        destination: str,
        queue: WorkQueue,
        policy: DeliveryPolicy,
        breaker: CircuitBreaker,
        throttle: Throttle,
        quarantine: TargetQuarantine,
        metrics: Metrics,
        *,
        loop_share: LoopShare,
        clock: Callable[[], float],
        now_micros: Callable[[], int],
    ) -> None:
        self._destination = destination
        self._queue = queue
        self._policy = policy
        self._breaker = breaker
        self._throttle = throttle
        self._quarantine = quarantine
        self._metrics = metrics
        self._loop_share = loop_share
        self._clock = clock
        self._now_micros = now_micros
        self.answers = 0
        """Calls of which the destination accepted, or refused for good, at least one push."""
        self.misconfigured = False
        """A call or all pushes of one were refused for what no address is the cause of, and nothing was answered since:
        the destination is held until a person acts."""
        self._refusals = Refusals()

    async def on_outcomes(self, call: Call, outcomes: Sequence[Outcome]) -> str:
        """The provider answered for each push. Returns the result for the metric. Live outcomes are recorded first, and
        those of bulk in slices where they are many, between which live work has its turn."""
        self._throttle.record_answered(call.started_at)
        for each in outcomes:
            if isinstance(each, Retryable) and each.throttled:
                self._record_throttled(each.after_seconds)
                break
        rulings = self._refusals.judge(
            [
                Answered(key=_key(item), outcome=outcome, refused_before=item.queued.refused_together)
                for item, outcome in zip(call.items, outcomes, strict=True)
            ]
        )
        if Ruling.DESTINATION_HELD in rulings.values():
            return self._refused_together(call, outcomes)
        self._hold_targets(call, outcomes, rulings)
        if not all(isinstance(each, Retryable) for each in outcomes):
            self.answers += 1
            self.misconfigured = False
            if self._breaker.record_success():
                log.info("circuit breaker closed: the destination answers", extra={"destination": self._destination})
        elif not all(item.queued.alone for item in call.items):
            self._breaker.record_failure(call.started_at)
        answered, answered_at = list(zip(call.items, outcomes, strict=True)), self._now_micros()
        live = sum(item.queued.live for item in call.items)
        for start in range(0, live, SLICE):
            if start:
                await asyncio.sleep(0)
            self._record(call, answered[start : min(start + SLICE, live)], rulings, answered_at)
        for start in range(live, len(answered), SLICE):
            async with self._loop_share.slice() if len(answered) > SLICE else nullcontext():
                self._record(call, answered[start : start + SLICE], rulings, answered_at)
        return "ok" if all(not isinstance(each, Retryable) for each in outcomes) else "partial"

    def _record(
        self,
        call: Call,
        answered: Sequence[tuple[CallItem, Outcome]],
        rulings: Mapping[TargetAction, Ruling],
        answered_at: int,
    ) -> None:
        with self._policy.together([item.delivery.address_key for item, _ in answered]):
            for item, outcome in answered:
                call.ended += 1
                ruling = rulings.get(_key(item), Ruling.ABOUT_ADDRESSES)
                self._isolated(item, self._on_outcome, outcome, ruling is Ruling.ABOUT_ADDRESSES, answered_at)

    def on_failure(self, call: Call, error: Exception) -> str:
        """The call failed as a whole. Returns the result for the metric."""
        match error:
            case SendNotAllowedError():
                for item in call.items:
                    item.queued.attempts -= 1
                    self._isolated(item, self._again, call.written)
                return "not_allowed"
            case ThrottledError():
                self._record_throttled(error.retry_after)
                for item in call.items:
                    self._isolated(item, self._again, call.written and error.in_doubt)
                return "throttled"
            case UnknownTargetsError():
                self.quarantine(error.targets, action=error.action)
                for item in call.items:
                    self._isolated(item, self._again, False)
                return "misconfigured"
            case MisconfiguredError():
                log.error(
                    "destination refuses us until a person acts",
                    extra={"destination": self._destination, "why": str(error)},
                )
                # A push that has failed alone before may be the cause, and does not hold up the others again.
                if not all(item.queued.alone for item in call.items):
                    self.misconfigured = True
                    self._breaker.force_open(call.started_at, HOLD_SECONDS)
                self._failed_together(call, error.reason, sent=False, own=len(call.items) == 1)
                return "misconfigured"
            case DestinationDownError():
                self._fail_call(call, error.reason)
                return "down"
            case _:
                self._report_bug("call", "call ended by a bug", error)
                self._fail_call(call, error.reason if isinstance(error, CallFailedError) else "error")
                return "error"

    def _record_throttled(self, wish: float | None) -> None:
        self._metrics.throttled.labels(self._destination).inc(self._throttle.record_throttled(wish))

    def abandon(self, call: Call) -> None:
        """The call was cancelled, or this process is not the active sender any more: no further outcome is recorded."""
        for item in call.items[call.ended :]:
            self._queue.end(item.queued, now=self._clock(), now_micros=self._now_micros())

    def quarantine(self, fixes: Mapping[str, str], *, action: Action | None = None) -> None:
        """Nothing more goes to these targets, or nothing of one action; their pushes wait in the index, and live
        revocations are reported."""
        self._quarantine.quarantine(fixes, action=action)
        for push in self._queue.remove_targets(fixes, action=action):
            self.report_waiting(push)

    def report_waiting(self, push: QueuedPush) -> None:
        """A live revocation takes longer than usual: it gets a `queued` receipt, once."""
        if not push.live or push.action != SUPPRESS or push.queued_receipt:
            return
        push.queued_receipt = True
        try:
            self._policy.send_queued_receipt(
                push.row.address_key, push.row.target, queued_at=push.queued_at, live_since=push.row.since
            )
        except SenderFencedError:
            return  # The next active sender reports it.
        except Exception as error:
            self._report_bug("receipt", "receipt not written", error)

    def _refused_together(self, call: Call, outcomes: Sequence[Outcome]) -> str:
        """A refusal that meets every push of a call is not about addresses: the destination is held, nothing ends."""
        self.misconfigured = True
        log.error(
            "destination refuses every push of a call: held, and probed",
            extra={"destination": self._destination, "why": _codes(outcomes)},
        )
        self._breaker.force_open(call.started_at, HOLD_SECONDS, early_probe=True)
        for item in call.items:
            item.queued.refused_together = True
            self._isolated(item, self._again, False)
        return "refused"

    def _hold_targets(self, call: Call, outcomes: Sequence[Outcome], rulings: Mapping[TargetAction, Ruling]) -> None:
        """These targets refuse whatever is sent, others do not, or it is not known whether they do."""
        for key, ruling in rulings.items():
            if ruling is Ruling.ABOUT_ADDRESSES:
                continue
            codes = _codes([each for item, each in zip(call.items, outcomes, strict=True) if _key(item) == key])
            fix = {key.target: f"refuses every {key.action} ({codes}): look at it in the tool"}
            suspected = ruling is Ruling.TARGET_SUSPECTED
            self._quarantine.quarantine(fix, action=key.action, on_probation=suspected)

    def _on_outcome(self, item: CallItem, outcome: Outcome, about_address: bool, answered_at: int) -> None:
        match outcome:
            case Accepted():
                repeat_after = self._policy.on_accepted(item.delivery, outcome, now=answered_at)
                self._settled(item)
                self._end(item, retry_after=repeat_after)
            case Refused() | Retryable(refused=True) if not about_address:
                self._refused_with_others(item)
            case Refused():
                self._policy.on_refused(item.delivery, outcome, now=answered_at)
                self._settled(item)
                self._end(item)
            case Retryable(unknown_target=True):
                target = item.delivery.target
                self._policy.on_not_sent(item.delivery)
                self.report_waiting(item.queued)
                self.quarantine({target: f"target {target} is not known to the tool"})
                self._end(item)
            case Retryable():
                after = outcome.after_seconds or 0.0
                if item.delivery.planned.state.action == SUPPRESS:
                    after = min(after, MAX_REVOCATION_INTERVAL_SECONDS)
                self._retry(item, outcome.reason, sent=True, own=not outcome.call_failed, after=after)

    def _refused_with_others(self, item: CallItem) -> None:
        """It waits in memory, ever longer, so that each probe of the target is another push."""
        queued = item.queued
        queued.refused_together = True
        self._metrics.retries.labels(self._destination).inc()
        self._policy.on_not_sent(item.delivery)
        self.report_waiting(queued)
        self._end(item, retry_after=min(REFUSED_RETRY_SECONDS * queued.attempts, MAX_REFUSED_RETRY_SECONDS))

    def _fail_call(self, call: Call, reason: str) -> None:
        """The destination did not answer. A push that was alone in the call may be the cause."""
        if not all(item.queued.alone for item in call.items):
            was_open = self._breaker.is_open
            self._breaker.record_failure(call.started_at)
            if self._breaker.is_open and not was_open:
                log.warning(
                    "circuit breaker open: the destination counts as down, and is probed",
                    extra={"destination": self._destination, "why": reason, "failures": self._breaker.failures},
                )
        self._failed_together(call, reason, sent=call.written, own=len(call.items) == 1)

    def _failed_together(self, call: Call, reason: str, *, sent: bool, own: bool) -> None:
        """The pushes of the call go apart, so that one that spoils a call is found."""
        for item in call.items:
            item.queued.max_batch = max(1, len(call.items) // 2)
            item.queued.outage = self._breaker.outages
            item.queued.unfilled = call.mixes_classes and item.queued.live
            self._isolated(item, self._retry_failed, reason, sent, own)

    def _retry_failed(self, item: CallItem, reason: str, sent: bool, own: bool) -> None:
        self._retry(item, reason, sent=sent, own=own)

    def _retry(self, item: CallItem, reason: str, *, sent: bool, own: bool, after: float = 0.0) -> None:
        """Another attempt. A failure counts against the address only if the destination answered others since it last
        failed: while it is down for all, the circuit breaker sets the pace. That of an address which has failed alone
        before always counts, as it does not move the circuit breaker."""
        queued = item.queued
        own = own and (queued.alone or self.answers > queued.answers_seen)
        queued.answers_seen = self.answers
        if not own:
            self._again(item, sent, after=after)
            return
        self._metrics.retries.labels(self._destination).inc()
        queued.alone = item.delivery.planned.attempts + 1 >= ALONE_AFTER_FAILURES
        seconds = self._policy.on_failed(item.delivery, reason, sent=sent, after=after)
        self._quarantine.ended_without_answer(*_key(item))
        self._end(item, retry_after=seconds)

    def _again(self, item: CallItem, sent: bool, after: float = 0.0) -> None:
        """Another attempt of which the row knows nothing. `sent`: the request may have been executed."""
        self._metrics.retries.labels(self._destination).inc()
        if not sent:
            self._policy.on_not_sent(item.delivery)
        self._quarantine.ended_without_answer(*_key(item))
        if self._quarantine.is_closed(*_key(item)):
            self.report_waiting(item.queued)
            self._end(item)
        else:
            self._end(item, retry_after=after)

    def _settled(self, item: CallItem) -> None:
        item.queued.settled()
        if self._quarantine.release(*_key(item)):
            self._queue.expect_more()

    def _end(self, item: CallItem, *, retry_after: float | None = None) -> None:
        self._queue.end(item.queued, now=self._clock(), now_micros=self._now_micros(), retry_after=retry_after)

    def _isolated(self, item: CallItem, handle: Callable[..., None], *details: object) -> None:
        """What goes wrong for one push concerns its address alone."""
        try:
            handle(item, *details)
        except SenderFencedError:
            if item.queued.in_flight:
                self._end(item)
        except Exception as error:
            self._report_bug("answer", "answer not handled", error)
            self._quarantine.ended_without_answer(*_key(item))
            if item.queued.in_flight:
                self._end(item, retry_after=ERROR_BACKOFF_SECONDS)

    def _report_bug(self, stage: str, what: str, error: Exception) -> None:
        self._metrics.push_errors.labels(self._destination, stage).inc()
        log.error(what, extra={"destination": self._destination, "why": describe(error)})


def _key(item: CallItem) -> TargetAction:
    wanted = item.delivery.planned.state
    return TargetAction(wanted.target, wanted.action)


def _codes(outcomes: Sequence[Outcome]) -> str:
    refused = {
        each.code if isinstance(each, Refused) else each.reason for each in outcomes if not isinstance(each, Accepted)
    }
    return ", ".join(sorted(refused))
