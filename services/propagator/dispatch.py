"""The calls to one destination: which steps go, when, how many at once, and what follows from each answer.

Runs on one event loop, without locks. A step's owner (the feed of its partition) is told when the step has
landed, struggles, or has to be parked; the dispatcher knows nothing of Kafka.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from propagator.backlog import Backlog, Step
from propagator.config import Destination
from propagator.connector import PERMIT, Accepted, Connector, Outcome, Push, Refused, TryAgain
from propagator.errors import CallFailed, DestinationDown, Misconfigured, PermissionWithheld, Throttled
from propagator.metrics import Metrics
from propagator.pace import PARKED_SECONDS, RETRY_SECONDS, THROTTLE_SECONDS, Breaker, TokenBucket, delay

log = logging.getLogger(__name__)

OPEN_WINDOW = 50
"""Steps a destination that is down may hold waiting: enough to probe with something else than a poison address."""
HOLD_SECONDS = 0.25
MISCONFIGURED_SECONDS = 30.0


class Unpushable(Exception):
    """The push cannot be made: its address cannot be opened. `code` says why; `curable`: a person can mend it."""

    def __init__(self, code: str, *, curable: bool = False) -> None:
        self.code = code
        self.curable = curable
        super().__init__(code)


class Owner(Protocol):
    """Whom a step belongs to. Called on the event loop, never concurrently."""

    def may_permit(self, step: Step) -> bool:
        """Whether this step's "yes" may still be said, now."""

    def landed(self, step: Step, outcome: Accepted | Refused) -> None:
        """The end of the step."""

    def struggles(self, step: Step, reason: str) -> None:
        """An attempt failed; another follows."""

    def park(self, step: Step, reason: str) -> None:
        """It failed too often by itself. The dispatcher has let go of it."""


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
        self._on_verified = on_verified
        self._beat = beat
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._clock = asyncio.get_running_loop().time
        limits = destination.limits
        self._bucket = TokenBucket(per_second=limits.calls_per_second, burst=limits.burst, clock=self._clock)
        self._breaker = Breaker(clock=self._clock, rng=self._rng)
        self._backlog = Backlog(max_batch=limits.max_batch, mixed=destination.kind.capabilities.mixed)
        self._not_before = float("-inf")
        self._throttles = 0
        self._successes = 0
        self._verified = False
        self._held = 0
        """Steps that wait on a timer: for their own retry, or to be allowed to permit."""
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._loop_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop_task = asyncio.create_task(self._guarded(self._run()), name=f"push {self._destination.name}")

    async def stop(self) -> None:
        """End the loop and every call under way; the owners have drained what they wanted drained."""
        tasks = [*self._calls, *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connector.close()

    @property
    def paused(self) -> bool:
        """Whether the destination is down (or not verified) and holds enough: consumption is to stop."""
        return (self._breaker.open or not self._verified) and self.waiting >= OPEN_WINDOW

    @property
    def waiting(self) -> int:
        return len(self._backlog) + self._held

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
        self._held += 1
        asyncio.get_running_loop().call_later(seconds, self._due, step)

    def _due(self, step: Step) -> None:
        self._held -= 1
        if not step.cancelled:
            self._enqueue(step)

    def _enqueue(self, step: Step) -> None:
        self._backlog.add(step, self._clock())
        self._wake.set()

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
        await self._verify()
        while True:
            self._beat()
            self._wake.clear()
            wait = self._pump()
            self._publish()
            try:
                async with asyncio.timeout(1.0 if wait is None else min(wait, 1.0)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _verify(self) -> None:
        """Nothing is pushed before the tool has confirmed its groups and lists; tried again for ever."""
        name = self._destination.name
        failures = 0
        while True:
            self._beat()
            try:
                await self._connector.verify()
            except CallFailed as error:
                failures += 1
                pause = (
                    MISCONFIGURED_SECONDS
                    if isinstance(error, Misconfigured)
                    else max(0.2, delay(RETRY_SECONDS, failures, self._rng))
                )
                log.error("destination not verified", extra={"destination": name, "why": str(error)})
                self._metrics.verified.labels(name).set(0)
                self._on_verified(f"not verified: {error.reason}")
                await self._pause(pause)
            else:
                self._verified = True
                self._metrics.verified.labels(name).set(1)
                self._on_verified(True)
                self._move()
                return

    async def _pause(self, seconds: float) -> None:
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self._beat()
            await asyncio.sleep(min(left, 1.0))

    def _pump(self) -> float | None:
        """Start every call that may go now; answers the seconds until the next may, None if only an event can tell."""
        limits = self._destination.limits
        while len(self._calls) < limits.concurrency:
            now = self._clock()
            breaker = self._breaker.wait(len(self._calls))
            if breaker is None:
                return None
            if (wait := max(breaker, self._not_before - now, self._bucket.wait())) > 0:
                return wait if len(self._backlog) else None
            batch = self._backlog.take(
                now,
                at_once=self._bucket.plentiful,
                probing=self._breaker.failures > 0,
                outages=self._breaker.outages,
            )
            if not batch:
                return self._backlog.due_in(now)
            self._launch(batch)
        return None

    def _launch(self, batch: list[Step]) -> None:
        steps, pushes = [], []
        for step in batch:
            if step.wanted.action == PERMIT and not self._owner(step).may_permit(step):
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
            return
        self._bucket.take()
        for step in steps:
            step.flying = True
            step.attempts += 1
        call = asyncio.create_task(self._guarded(self._call(steps, pushes)))
        self._calls.add(call)
        call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._wake.set()

    async def _call(self, steps: list[Step], pushes: Sequence[Push]) -> None:
        started_at = self._clock()
        result = "ok"
        try:
            outcomes = await self._connector.push(pushes, guard=lambda: self._allowed(steps))
        except PermissionWithheld:
            result = "withheld"
            for step in self._down(steps):
                step.attempts -= 1
                self._owner(step).struggles(step, "withheld")
                if not step.cancelled:
                    self._withhold(step)
        except Throttled as error:
            result = "throttled"
            self._throttled(steps, error)
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
        self._throttles = 0
        again = [(s, o) for s, o in zip(steps, outcomes, strict=True) if isinstance(o, TryAgain)]
        if len(again) < len(steps):
            self._successes += 1
            self._breaker.success()
        elif not all(step.parked for step in steps):
            self._breaker.failure(started_at)
        self._down(steps)
        for step, outcome in zip(steps, outcomes, strict=True):
            if not isinstance(outcome, TryAgain):
                self._owner(step).landed(step, outcome)
        for step, outcome in again:
            self._retry(step, outcome.reason, outcome.after_seconds, strike=True)
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
        self._not_before = max(self._not_before, self._clock() + wait)
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
        self._metrics.withheld.labels(self._destination.name).inc()
        self.later(step, HOLD_SECONDS)

    def _allowed(self, steps: Sequence[Step]) -> bool:
        return all(each.wanted.action != PERMIT or self._owner(each).may_permit(each) for each in steps)

    def _down(self, steps: Sequence[Step]) -> Sequence[Step]:
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

    @staticmethod
    def _owner(step: Step) -> Owner:
        return cast("Owner", step.owner)


def parked_delay(rounds: int, rng: random.Random) -> float:
    """Seconds until a parked address is tried again: at least half of the schedule's step."""
    longest = PARKED_SECONDS[min(max(rounds, 1), len(PARKED_SECONDS)) - 1]
    return rng.uniform(longest / 2, longest)
