"""Everything that sends to one destination, put together. One event loop; no Kafka, no HTTP of its own."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros as wall_micros
from propagator.config.model import Destination
from propagator.connectors.base import Connector
from propagator.metrics import Metrics
from propagator.sending.account_check import AccountCheck
from propagator.sending.backoff import address_backoff
from propagator.sending.call_results import CallResults
from propagator.sending.circuit_breaker import CircuitBreaker
from propagator.sending.delivery import DeliveryPolicy
from propagator.sending.dispatcher import Dispatcher
from propagator.sending.gauges import Gauges
from propagator.sending.loop_share import LoopShare
from propagator.sending.ports import DestinationState, PendingPush
from propagator.sending.rate_limiter import RateLimiter
from propagator.sending.record_work import RecordWork
from propagator.sending.target_quarantine import TargetQuarantine
from propagator.sending.throttle import Throttle
from propagator.sending.work_queue import WorkQueue
from propagator.timing import GAUGE_SECONDS

log = logging.getLogger(__name__)


class DestinationWorker:
    """Sends what is pending for one destination, from `start` to `stop`: while this process is the active sender.

    `on_fatal_error` gets a bug of ours that is not about one address; the process is to end. `on_verified` gets True
    once the tool knows our account, or why not. `heartbeat` is called at least once a second while the loop runs.
    `now_micros` is the wall clock, microseconds since the epoch. `loop_share` is that of the process. Created within
    the running event loop.
    """

    def __init__(
        self,
        destination: Destination,
        connector: Connector,
        state: DestinationState,
        keyring: Callable[[], Keyring],
        metrics: Metrics,
        *,
        on_fatal_error: Callable[[BaseException], None],
        on_verified: Callable[[bool | str], None] = lambda _state: None,
        heartbeat: Callable[[], None] = lambda: None,
        now_micros: Callable[[], int] = wall_micros,
        loop_share: LoopShare | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._destination = destination
        self._connector = connector
        self._on_fatal_error = on_fatal_error
        self._on_verified = on_verified
        self._heartbeat = heartbeat
        self._tasks: list[asyncio.Task[None]] = []
        name, limits = destination.name, destination.limits
        rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        clock = asyncio.get_running_loop().time
        loop_share = loop_share or LoopShare(clock)
        limiter = RateLimiter(
            per_second=limits.calls_per_second,
            burst=limits.burst,
            clock=clock,
            on_request=metrics.requests.labels(name).inc,
        )
        breaker = CircuitBreaker(clock=clock, rng=rng)
        throttle = Throttle(clock=clock, rng=rng)
        quarantine = TargetQuarantine(name, clock=clock)
        queue = self._queue = WorkQueue(max_batch=limits.max_batch, mixed=destination.capabilities.mixed)
        policy = DeliveryPolicy(
            destination, state, keyring, metrics, now_micros=now_micros, backoff=partial(address_backoff, rng=rng)
        )
        account_check = AccountCheck(
            name, connector, limiter, on_verified=on_verified, heartbeat=heartbeat, clock=clock, rng=rng
        )
        results = CallResults(
            name,
            queue,
            policy,
            breaker,
            throttle,
            quarantine,
            metrics,
            loop_share=loop_share,
            clock=clock,
            now_micros=now_micros,
        )
        self._record_work = RecordWork(destination, state, queue, metrics, now_micros=now_micros)
        self._gauges = Gauges(
            destination,
            state,
            metrics,
            queue=queue,
            breaker=breaker,
            quarantine=quarantine,
            account_check=account_check,
            results=results,
            now_micros=now_micros,
        )
        self._dispatcher = Dispatcher(
            destination,
            connector,
            state,
            metrics,
            queue=queue,
            policy=policy,
            limiter=limiter,
            breaker=breaker,
            throttle=throttle,
            quarantine=quarantine,
            account_check=account_check,
            results=results,
            loop_share=loop_share,
            on_fatal_error=on_fatal_error,
            heartbeat=heartbeat,
            clock=clock,
            now_micros=now_micros,
        )

    @property
    def in_memory(self) -> int:
        """Pushes that are held in memory, of however many that are pending."""
        return len(self._queue)

    async def start(self) -> None:
        """Begin: verify the account, then send what is pending. A paused destination only exports its gauges."""
        works: list[Callable[[], Coroutine[Any, Any, None]]] = [self._export]
        if self._destination.paused:
            log.warning("destination is paused", extra={"destination": self._destination.name})
            self._on_verified(True)
        else:
            works += [self._dispatcher.run, self._record_work.run]
        self._tasks = [asyncio.create_task(self._guarded(each)) for each in works]

    async def stop(self, drain_seconds: float) -> None:
        """Start nothing new, give calls in flight `drain_seconds`, cancel the rest and close the connector."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._dispatcher.stop(drain_seconds)
        await self._connector.close()
        self._gauges.remove()

    def offer(self, pushes: Sequence[PendingPush]) -> None:
        """Rows of the pending index that are new or have changed. Called on the event loop; returns at once."""
        if self._destination.paused:
            return
        for row in pushes:
            if row.kind in ("suppress", "permit"):
                self._dispatcher.offer(row)
            else:
                self._record_work.offer(row)

    async def _export(self) -> None:
        while True:
            if self._destination.paused:
                self._heartbeat()  # Else the dispatcher's own loop reports that the event loop runs.
            self._gauges.export()
            await asyncio.sleep(GAUGE_SECONDS)

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What is not about one push is a bug that ends the process."""
        try:
            await work()
        except Exception as error:
            log.exception("bug in the worker of a destination", extra={"destination": self._destination.name})
            self._on_fatal_error(error)
