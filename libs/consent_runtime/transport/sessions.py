"""The sessions of one app: which partitions are held, which may be fetched, what may be committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from faust.types import TP

from consent_runtime.observability import Health

from .contract import Stream
from .membership import Lease, Membership
from .metrics import TransportMetrics
from .session import Session


class Sessions:
    """Lives in the loop's thread; `ready` alone is also read by the consumer's."""

    def __init__(
        self,
        stream: Stream,
        *,
        membership: Membership,
        max_outstanding: int,
        patience: float,
        stalled_after: float,
        health: Health,
        metrics: TransportMetrics,
        failed: Callable[[BaseException], None],
        ready_changed: Callable[[], None],
    ) -> None:
        self.ready: frozenset[TP] = frozenset()
        self._stream = stream
        self._membership = membership
        self._max_outstanding = max_outstanding
        self._patience = patience
        self._stalled_after = stalled_after
        self._health = health
        self._metrics = metrics
        self._failed = failed
        self._ready_changed = ready_changed
        self._live: dict[TP, Session] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._joined = False
        self.report()

    def of(self, topic: str, partition: int) -> Session | None:
        return self._live.get(TP(topic, partition))

    def assign(self, partitions: Iterable[TP], lease: Lease) -> None:
        """Hold exactly `partitions`. What stayed ours without a break goes on; all else is opened anew."""
        self._joined = True
        before, self._live = self._live, {}
        for tp in partitions:
            earlier = before.pop(tp, None)
            if earlier is not None and earlier.suspended and lease.continues(earlier.lease):
                self._live[tp] = earlier
                earlier.resume(lease)
            else:
                session = self._live[tp] = self._new(tp, lease)
                session.start(after=None if earlier is None else self._leave(earlier))
        for gone in before.values():
            self._leave(gone)
        self._metrics.rebalances.labels(self._stream.name).inc()
        self._changed()

    async def suspend(self) -> None:
        """The group rebalances: when this returns, nothing is being processed and nothing recovered."""
        await asyncio.gather(*(session.suspend() for session in self._live.values()), *self._leaving)

    async def close(self) -> None:
        """The process stops: finish or abandon everything. Raises the first failure, after all have ended."""
        results = await asyncio.gather(*map(self._end, self._live.values()), *self._leaving, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def committable(self) -> dict[TP, int]:
        offsets = ((tp, session.tracker.committable) for tp, session in self._live.items())
        return {tp: offset for tp, offset in offsets if offset is not None}

    def committed(self, offsets: dict[TP, int], lease: Lease) -> None:
        for tp, offset in offsets.items():
            session = self._live.get(tp)
            if session is not None and session.lease == lease:
                session.tracker.committed(offset)

    def observe(self) -> None:
        """Bring the gauges up to date."""
        for (topic, partition), session in self._live.items():
            place = (self._stream.name, topic, str(partition))
            self._metrics.outstanding.labels(*place).set(session.tracker.outstanding)
            self._metrics.paused.labels(*place).set(session.paused)

    async def _end(self, session: Session) -> None:
        await session.suspend()
        await session.close()

    def _new(self, tp: TP, lease: Lease) -> Session:
        return Session(
            self._stream,
            tp.topic,
            tp.partition,
            lease=lease,
            membership=self._membership,
            max_outstanding=self._max_outstanding,
            patience=self._patience,
            stalled_after=self._stalled_after,
            failed=self._failed,
            changed=self._changed,
        )

    def _leave(self, session: Session) -> asyncio.Task[None]:
        leaving = session.closing()
        self._leaving.add(leaving)
        leaving.add_done_callback(self._left)
        place = (self._stream.name, session.topic, str(session.partition))
        self._metrics.outstanding.remove(*place)
        self._metrics.paused.remove(*place)
        return leaving

    def _left(self, leaving: asyncio.Task[None]) -> None:
        self._leaving.discard(leaving)
        failure = None if leaving.cancelled() else leaving.exception()
        if failure is not None:
            self._failed(failure)

    def _changed(self) -> None:
        ready = frozenset(tp for tp, session in self._live.items() if session.wants_records)
        if ready != self.ready:
            self.ready = ready
            self._ready_changed()
        self.report()

    def report(self) -> None:
        """Bring the readiness up to date; called every moment."""
        opening = [_name(tp) for tp, session in self._live.items() if not session.opened]
        reasons = [stalled for session in self._live.values() if (stalled := session.stalled)]
        if opening:
            reasons.insert(0, f"recovering {', '.join(sorted(opening))}")
        if not self._joined:
            reasons.insert(0, "has not joined its consumer group yet")
        self._health.ready(self._stream.name, "; ".join(reasons) or True)
        self._metrics.owned.labels(self._stream.name).set(len(self._live) - len(opening))


def _name(tp: TP) -> str:
    return f"{tp.topic}:{tp.partition}"
