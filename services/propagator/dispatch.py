"""The calls to one destination: which steps go, when, how many at once, and what follows from each answer.

Runs on one event loop, without locks. A step's owner (the feed of its partition) is told when the step has
landed, struggles, or has to be parked; the dispatcher knows nothing of Kafka.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

from propagator.backlog import Backlog, Step
from propagator.config import Destination
from propagator.connector import PERMIT, SUPPRESS, Accepted, Action, Connector, Outcome, Push, Refused, TryAgain
from propagator.errors import CallFailed, DestinationDown, Misconfigured, Throttled, Withheld, WrongTargets
from propagator.metrics import Metrics
from propagator.pace import RETRY_SECONDS, THROTTLE_SECONDS, URGENT_SECONDS, Breaker, TokenBucket, delay
from propagator.targets import Targets
from propagator.timers import Timers
from propagator.verification import MISCONFIGURED_SECONDS, Verification

log = logging.getLogger(__name__)

OPEN_WINDOW = 50
"""Steps a destination that is down may hold waiting: enough to probe with something else than a poison address."""
HOLD_SECONDS: Mapping[Action, float] = {SUPPRESS: 2.0, PERMIT: 0.25}
"""Between two looks whether something withheld may be said. While Kafka is away a whole backlog of "no" looks."""
NEVER_SENT = frozenset({"unreachable", "unresolved"})
"""A call that failed so has not reached the tool. After any other failure it may have, and be carried out late."""


class Unpushable(Exception):
    """The push cannot be made: its address cannot be opened. `code` says why; `curable`: a person can mend it."""

    def __init__(self, code: str, *, curable: bool = False) -> None:
        self.code = code
        self.curable = curable
        super().__init__(code)


class Owner(Protocol):
    """Whom a step belongs to. Called on the event loop, never concurrently."""

    def may_push(self, step: Step) -> bool:
        """Whether what this step says may still be said, now."""

    def landed(self, step: Step, outcome: Accepted | Refused) -> None:
        """The end of the step."""

    def struggles(self, step: Step, reason: str) -> None:
        """An attempt failed; another follows."""

    def unanswered(self, step: Step) -> None:
        """A call that held this "yes" ended without an answer: the tool may carry it out yet. Another call follows."""

    def park(self, step: Step, reason: str) -> None:
        """It failed too often by itself, or its target is wrong. The dispatcher has let go of it."""


class Dispatcher:
    """One destination's calls. `start` and `stop` inside the running loop."""

    def __init__(
        self,
        destination: Destination,
        connector: Connector,
        metrics: Metrics,
        *,
        on_bug: Callable[[BaseException], None],
        on_verified: Callable[[bool | str], None] = lambda _state: None,
        beat: Callable[[], None] = lambda: None,
        rng: random.Random | None = None,
    ) -> None:
        self._destination = destination
        self._connector = connector
        self._metrics = metrics
        self._on_bug = on_bug
        self._beat = beat
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._clock = asyncio.get_running_loop().time
        limits = destination.limits
        self._bucket = TokenBucket(per_second=limits.calls_per_second, burst=limits.burst, clock=self._clock)
        self._breaker = Breaker(clock=self._clock, rng=self._rng)
        self._backlog = Backlog(max_batch=limits.max_batch, mixed=destination.kind.capabilities.mixed)
        self._verification = Verification(
            destination.name, connector, on_verified=on_verified, beat=beat, clock=self._clock, rng=self._rng
        )
        self._timers = Timers(self._enqueue)
        self._targets = Targets(
            destination.name,
            self._verification,
            self._backlog,
            self._timers,
            enqueue=self._enqueue,
            clock=self._clock,
        )
        self._not_before = self._throttled_at = self._urgent_at = float("-inf")
        self._throttles = 0
        self._successes = 0
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._in_calls = 0
        """Steps, not calls."""
        self._checking: asyncio.Task[None] | None = None
        self._loop_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop_task = asyncio.create_task(self._guarded(self._run()), name=f"push {self._destination.name}")

    async def stop(self) -> None:
        """End the loop and every call under way; the owners have drained what they wanted drained."""
        tasks = [*self._calls, *filter(None, (self._loop_task, self._checking))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._timers.stop()
        await self._connector.close()

    @property
    def paused(self) -> bool:
        """Whether the destination is down (or not verified) and holds enough: consumption is to stop."""
        down = self._breaker.open or not self._verification.done
        return down and len(self._backlog) + self._in_calls + self._timers.pressing >= OPEN_WINDOW

    @property
    def waiting(self) -> int:
        return len(self._backlog) + self._in_calls + len(self._timers) + self._targets.waiting

    async def until_moved(self) -> None:
        """Returns after the next answer of the destination, whatever it was."""
        await self._moved.wait()

    def submit(self, step: Step) -> None:
        """Take the step over; its owner hears of it again. Steps of one address and target must not overlap."""
        step.seen_successes = self._successes
        self._breaker.nudge()
        self._enqueue(step)

    def later(self, step: Step, seconds: float) -> None:
        """Submit the step after `seconds`, unless it is cancelled meanwhile."""
        self._timers.start(step, seconds)

    def _enqueue(self, step: Step) -> None:
        if not self._targets.is_wrong(step.wanted.target):
            self._backlog.add(step, self._clock())
            self._wake.set()
        elif (reason := self._targets.keep(step)) is not None:
            self._owner(step).park(step, reason)

    async def _guarded(self, work: object) -> None:
        """Run; what is no answer of a destination is a bug and stops the worker."""
        try:
            await cast("asyncio.Future[None]", work)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.exception("bug in the dispatcher of a destination", extra={"destination": self._destination.name})
            self._on_bug(error)

    async def _run(self) -> None:
        self._publish()
        self._targets.hold("wrong_target", await self._verification.first())
        self._move()
        while True:
            self._beat()
            if (self._checking is None or self._checking.done()) and self._targets.check_due():
                self._checking = asyncio.create_task(self._guarded(self._targets.check()))
            self._wake.clear()
            wait = self._pump()
            self._publish()
            try:
                async with asyncio.timeout(1.0 if wait is None else min(wait, 1.0)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _pump(self) -> float | None:
        """Start every call that may go now; answers the seconds until the next may, None if only an event can tell."""
        limits = self._destination.limits
        while len(self._calls) < limits.concurrency:
            now = self._clock()
            breaker = self._breaker.wait(len(self._calls))
            if breaker is None:
                return None
            told_to_wait = self._not_before > now
            urgent = told_to_wait and self._backlog.has(SUPPRESS)
            quiet = (min(self._not_before, self._urgent_at) if urgent else self._not_before) - now
            if (wait := max(breaker, quiet, self._bucket.wait())) > 0:
                return wait if len(self._backlog) else None
            batch = self._backlog.take(
                now,
                at_once=self._bucket.plentiful,
                probing=self._breaker.failures > 0,
                outages=self._breaker.outages,
                actions=(SUPPRESS,) if told_to_wait else (SUPPRESS, PERMIT),
            )
            if not batch:
                return self._backlog.due_in(now)
            if self._launch(batch) and told_to_wait:
                self._urgent_at = now + URGENT_SECONDS
        return None

    def _launch(self, batch: list[Step]) -> bool:
        """Whether a call was begun: for none of the batch there may be leave."""
        steps, pushes = [], []
        for step in batch:
            if not self._owner(step).may_push(step):
                if not step.cancelled:
                    self._withhold(step)
                continue
            try:
                pushes.append(step.build(step))
            except Unpushable as error:
                if error.curable:
                    self._owner(step).park(step, error.code)
                else:
                    self._owner(step).landed(step, Refused(code=error.code))
                continue
            steps.append(step)
        if not steps:
            return False
        self._bucket.take()
        for step in steps:
            step.flying = True
            step.attempts += 1
        self._in_calls += len(steps)
        call = asyncio.create_task(self._guarded(self._call(steps, pushes)))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return True

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._wake.set()

    async def _call(self, steps: list[Step], pushes: Sequence[Push]) -> None:
        started_at = self._clock()
        result = "ok"
        try:
            outcomes = await self._connector.push(pushes, guard=lambda: self._allowed(steps))
        except Withheld as error:
            result = "withheld"
            for step in self._down(steps):
                step.attempts -= 1
                if step.cancelled:
                    continue  # It ended while the connection was made; its owner has put another in its place.
                self._owner(step).struggles(step, error.reason)
                if not step.cancelled:
                    self._enqueue(step)
        except asyncio.CancelledError:
            self._unanswered(steps)
            raise
        except Throttled as error:
            result = "throttled"
            self._throttled(steps, error)
        except WrongTargets as error:
            result = "misconfigured"
            self._targets.hold(error.reason, error.targets)
            for step in self._down(steps):
                self._retry(step, error.reason, None, strike=False)
        except Misconfigured as error:
            result = "misconfigured"
            log.error(
                "destination refuses us until a person acts",
                extra={"destination": self._destination.name, "why": str(error)},
            )
            self._breaker.trip(started_at, MISCONFIGURED_SECONDS)
            self._failed(steps, error, strike=False)
        except DestinationDown as error:
            result = "down"
            if error.reason not in NEVER_SENT:
                self._unanswered(steps)
            if not all(step.parked for step in steps):
                self._breaker.failure(started_at)
            self._failed(steps, error, strike=len(steps) == 1)
        else:
            result = self._answered(steps, outcomes, started_at)
        self._metrics.calls.labels(self._destination.name, result).inc()
        self._move()

    def _answered(self, steps: list[Step], outcomes: Sequence[Outcome], started_at: float) -> str:
        if len(outcomes) != len(steps):
            raise RuntimeError(f"connector answered {len(outcomes)} outcomes for {len(steps)} pushes")
        if started_at >= self._throttled_at:
            self._throttles = 0
            self._not_before = float("-inf")
        again = [(s, o) for s, o in zip(steps, outcomes, strict=True) if isinstance(o, TryAgain)]
        if len(again) < len(steps):
            self._successes += 1
            if self._breaker.success():
                self._timers.release(lambda step: not step.parked)
        elif not all(step.parked for step in steps):
            self._breaker.failure(started_at)
        self._down(steps)
        for step, outcome in zip(steps, outcomes, strict=True):
            if not isinstance(outcome, TryAgain):
                self._targets.mended(step.wanted.target)
                self._owner(step).landed(step, outcome)
        for step, outcome in again:
            if outcome.wrong_target:
                target = step.wanted.target
                self._targets.hold(outcome.reason, {target: f"target {target} is not known to the tool"})
            else:
                self._unanswered([step])
            after = outcome.after_seconds
            if after is not None and step.wanted.action == SUPPRESS:
                after = min(after, URGENT_SECONDS)
            self._retry(step, outcome.reason, after, strike=not outcome.wrong_target)
        return "partial" if again else "ok"

    def _failed(self, steps: list[Step], error: CallFailed, *, strike: bool) -> None:
        """The call as a whole failed: its steps go apart, so that one that poisons a call is found."""
        for step in self._down(steps):
            step.group_limit = max(1, len(steps) // 2)
            step.outage = self._breaker.outages
            self._retry(step, error.reason, None, strike=strike)

    def _throttled(self, steps: list[Step], error: Throttled) -> None:
        self._throttles += 1
        wait = error.retry_after
        if wait is None:
            wait = delay(THROTTLE_SECONDS, self._throttles, self._rng) + THROTTLE_SECONDS[0] / 2
        self._metrics.throttled.labels(self._destination.name).inc(wait)
        self._throttled_at = self._clock()
        self._urgent_at = self._throttled_at + URGENT_SECONDS
        self._not_before = max(self._not_before, self._throttled_at + wait)
        for step in self._down(steps):
            self._retry(step, error.reason, None, strike=False)

    def _retry(self, step: Step, reason: str, after: float | None, *, strike: bool) -> None:
        """Let the step wait for its next attempt, or give it back to be parked.

        A failure counts against the address only if others succeeded since it last failed: while the
        destination is down for everybody the breaker sets the pace, and nobody is parked.
        """
        alone = strike and self._successes > step.seen_successes
        step.strikes += alone
        step.seen_successes = self._successes
        self._metrics.retries.labels(self._destination.name).inc()
        if strike and (step.parked or step.strikes >= self._destination.park_after):
            self._owner(step).park(step, reason)
            return
        self._owner(step).struggles(step, reason)
        if step.cancelled:
            return
        if after is None:
            after = delay(RETRY_SECONDS, step.strikes, self._rng) if alone else 0.0
        if after > 0.0:
            self.later(step, after)
        else:
            self._enqueue(step)

    def _withhold(self, step: Step) -> None:
        self._metrics.withheld.labels(self._destination.name, step.wanted.action).inc()
        self.later(step, HOLD_SECONDS[step.wanted.action])

    def _allowed(self, steps: Sequence[Step]) -> bool:
        return all(self._owner(each).may_push(each) for each in steps)

    def _unanswered(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.wanted.action == PERMIT:
                self._owner(step).unanswered(step)

    def _down(self, steps: Sequence[Step]) -> Sequence[Step]:
        self._in_calls -= len(steps)
        for step in steps:
            step.flying = False
        return steps

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
        self._wake.set()

    def _publish(self) -> None:
        name = self._destination.name
        self._metrics.breaker_open.labels(name).set(self._breaker.open)
        self._metrics.waiting.labels(name).set(self.waiting)
        self._metrics.verified.labels(name).set(self._verification.done and not self._targets.any_wrong)

    @staticmethod
    def _owner(step: Step) -> Owner:
        return cast("Owner", step.owner)
