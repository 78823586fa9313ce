"""The sessions of one app: which partitions are held, which may be fetched, what may be committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from faust.types import TP

from consent_runtime.observability import Health

from .contract import Stream
from .membership import Lease, Membership
from .metrics import TransportMetrics
from .session import Session


class Sessions:
    """Lives in the loop's thread; `ready` and `seeks` alone are also used by the consumer's."""

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
        self.seeks: dict[TP, int] = {}
        """Positions to set before the next fetch; the consumer's thread takes them out."""
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
        self._incomplete: list[str] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._joined = False
        self.report()

    def of(self, topic: str, partition: int) -> Session | None:
        return self._live.get(TP(topic, partition))

    def assign(self, partitions: Iterable[TP], lease: Lease) -> None:
        """Hold exactly `partitions`, of those that are complete. What stayed ours without a break goes on; all else is
        opened again."""
        self._joined = True
        before, self._live = self._live, {}
        for tps in self._complete(partitions):
            earlier = {tp: before.pop(tp) for tp in tps if tp in before}
            if earlier.keys() == tps and all(_continues(session, lease) for session in earlier.values()):
                self._live |= earlier
                for session in earlier.values():
                    session.resume(lease)
            else:
                self._open(tps, lease, earlier)
        for gone in before.values():
            self._leave(gone)
        self._metrics.rebalances.labels(self._stream.name).inc()
        self._changed()

    def _complete(self, partitions: Iterable[TP]) -> list[frozenset[TP]]:
        """The assigned partitions by number, without numbers of which a topic is missing."""
        by_number: dict[int, set[TP]] = {}
        for tp in partitions:
            by_number.setdefault(tp.partition, set()).add(tp)
        complete, self._incomplete = [], []
        for number, tps in sorted(by_number.items()):
            missing = {TP(topic, number) for topic in self._stream.topics} - tps
            if missing:
                self._incomplete.append(f"assigned {_names(tps)} without {_names(missing)}: not opened")
            else:
                complete.append(frozenset(tps))
        return complete

    def _open(self, tps: Iterable[TP], lease: Lease, earlier: Mapping[TP, Session]) -> None:
        """New sessions, which begin when the earlier ones of the same partition number have closed."""
        closing = [self._leave(session) for session in earlier.values()]
        for tp in tps:
            session = self._live[tp] = self._new(tp, lease)
            session.start(after=closing)

    def _reopen(self, partition: int) -> None:
        earlier = {tp: session for tp, session in self._live.items() if tp.partition == partition}
        if earlier and all(session.accepting for session in earlier.values()):
            self._open(earlier, next(iter(earlier.values())).lease, earlier)
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
            seek=partial(self.seeks.__setitem__, tp),
            reopen=partial(self._reopen, tp.partition),
        )

    def _leave(self, session: Session) -> asyncio.Task[None]:
        leaving = session.closing()
        self.seeks.pop(TP(session.topic, session.partition), None)
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
        ready = frozenset(tp for tp, session in self._live.items() if session.accepts_records)
        if ready != self.ready:
            self.ready = ready
            self._ready_changed()
        self.report()

    def report(self) -> None:
        """Bring the readiness up to date; called every moment."""
        opening = [_name(tp) for tp, session in self._live.items() if not session.opened]
        reasons = [stalled for session in self._live.values() if (stalled := session.stalled)]
        reasons[:0] = self._incomplete
        if opening:
            reasons.insert(0, f"recovering {', '.join(sorted(opening))}")
        if not self._joined:
            reasons.insert(0, "has not joined its consumer group yet")
        if self._membership.waiting:
            reasons.insert(0, self._membership.waiting)
        self._health.ready(self._stream.name, "; ".join(reasons) or True)
        self._metrics.owned.labels(self._stream.name).set(len(self._live) - len(opening))


def _continues(session: Session, lease: Lease) -> bool:
    """No other member can have had the partition, and nothing of it is under way."""
    return session.suspended and lease.continues(session.lease)


def _names(tps: Iterable[TP]) -> str:
    return ", ".join(sorted(map(_name, tps)))


def _name(tp: TP) -> str:
    return f"{tp.topic}:{tp.partition}"
