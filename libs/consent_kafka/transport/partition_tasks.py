"""The partition_tasks of one app: which partitions are held, which may be fetched, what may be committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from faust.types import TP

from consent_kafka.transport.api import StreamSpec
from consent_kafka.transport.membership import ConsumerGroupMetadata, Membership
from consent_kafka.transport.metrics import TransportMetrics
from consent_kafka.transport.partition_task import PartitionTask
from consent_service.health import Health


class PartitionTasks:
    """Lives in the loop's thread; `ready` and `seeks` alone are also used by the consumer's."""

    def __init__(
        self,
        stream: StreamSpec,
        *,
        membership: Membership,
        max_outstanding: int,
        drain_timeout: float,
        close_timeout: float,
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
        self._drain_timeout = drain_timeout
        self._close_timeout = close_timeout
        self._stalled_after = stalled_after
        self._health = health
        self._metrics = metrics
        self._failed = failed
        self._ready_changed = ready_changed
        self._live: dict[TP, PartitionTask] = {}
        self._incomplete: list[str] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._joined = False
        self.report()

    def get(self, topic: str, partition: int) -> PartitionTask | None:
        return self._live.get(TP(topic, partition))

    def assign(self, partitions: Iterable[TP], group_metadata: ConsumerGroupMetadata) -> None:
        """Hold exactly `partitions`, of those that are complete. What stayed ours without a break goes on; all else is
        opened again."""
        self._joined = True
        before, self._live = self._live, {}
        for tps in self._complete(partitions):
            earlier = {tp: before.pop(tp) for tp in tps if tp in before}
            if earlier.keys() == tps and all(_continues(task, group_metadata) for task in earlier.values()):
                self._live |= earlier
                for task in earlier.values():
                    task.resume(group_metadata)
            else:
                self._open(tps, group_metadata, earlier)
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

    def _open(
        self, tps: Iterable[TP], group_metadata: ConsumerGroupMetadata, earlier: Mapping[TP, PartitionTask]
    ) -> None:
        """New partition_tasks, which begin when the earlier ones of the same partition number have closed."""
        closing = [self._leave(task) for task in earlier.values()]
        for tp in tps:
            task = self._live[tp] = self._new(tp, group_metadata)
            task.start(after=closing)

    def _reopen(self, partition: int) -> None:
        earlier = {tp: task for tp, task in self._live.items() if tp.partition == partition}
        if earlier and all(task.accepting for task in earlier.values()):
            self._open(earlier, next(iter(earlier.values())).group_metadata, earlier)
            self._changed()

    async def suspend(self) -> None:
        """The group rebalances: when this returns, nothing is being processed and nothing recovered."""
        await asyncio.gather(*(task.suspend() for task in self._live.values()), *self._leaving)

    async def close(self) -> None:
        """The process stops: finish or abandon everything. Raises the first failure, after all have ended.

        A handler may share its work with those of other topics, as the merge does: all finish before one is closed.
        """
        tasks = tuple(self._live.values())
        await asyncio.gather(*(task.drain() for task in tasks))
        ended = (*(task.close() for task in tasks), *self._leaving)
        for result in await asyncio.gather(*ended, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    def committable(self) -> dict[TP, int]:
        offsets = ((tp, task.tracker.committable) for tp, task in self._live.items())
        return {tp: offset for tp, offset in offsets if offset is not None}

    def committed(self, offsets: dict[TP, int], group_metadata: ConsumerGroupMetadata) -> None:
        for tp, offset in offsets.items():
            task = self._live.get(tp)
            if task is not None and task.group_metadata == group_metadata:
                task.tracker.committed(offset)

    def observe(self) -> None:
        """Bring the gauges up to date."""
        for (topic, partition), task in self._live.items():
            place = (self._stream.name, topic, str(partition))
            self._metrics.outstanding.labels(*place).set(task.tracker.outstanding)
            self._metrics.paused.labels(*place).set(task.paused)

    def _new(self, tp: TP, group_metadata: ConsumerGroupMetadata) -> PartitionTask:
        return PartitionTask(
            self._stream,
            tp.topic,
            tp.partition,
            group_metadata=group_metadata,
            membership=self._membership,
            max_outstanding=self._max_outstanding,
            drain_timeout=self._drain_timeout,
            close_timeout=self._close_timeout,
            stalled_after=self._stalled_after,
            failed=self._failed,
            changed=self._changed,
            seek=partial(self.seeks.__setitem__, tp),
            reopen=partial(self._reopen, tp.partition),
        )

    def _leave(self, task: PartitionTask) -> asyncio.Task[None]:
        leaving = task.closing()
        self.seeks.pop(TP(task.topic, task.partition), None)
        self._leaving.add(leaving)
        leaving.add_done_callback(self._left)
        place = (self._stream.name, task.topic, str(task.partition))
        self._metrics.outstanding.remove(*place)
        self._metrics.paused.remove(*place)
        return leaving

    def _left(self, leaving: asyncio.Task[None]) -> None:
        self._leaving.discard(leaving)
        failure = None if leaving.cancelled() else leaving.exception()
        if failure is not None:
            self._failed(failure)

    def _changed(self) -> None:
        ready = frozenset(tp for tp, task in self._live.items() if task.accepts_records)
        if ready != self.ready:
            self.ready = ready
            self._ready_changed()
        self.report()

    def report(self) -> None:
        """Bring the readiness up to date; called every moment."""
        opening = [_name(tp) for tp, task in self._live.items() if not task.opened]
        reasons = [stalled for task in self._live.values() if (stalled := task.stalled)]
        reasons[:0] = self._incomplete
        if opening:
            reasons.insert(0, f"recovering {', '.join(sorted(opening))}")
        if not self._joined:
            reasons.insert(0, "has not joined its consumer group yet")
        if self._membership.waiting:
            reasons.insert(0, self._membership.waiting)
        self._health.set_ready(self._stream.name, "; ".join(reasons) or True)
        self._metrics.owned.labels(self._stream.name).set(len(self._live) - len(opening))


def _continues(task: PartitionTask, group_metadata: ConsumerGroupMetadata) -> bool:
    """No other member can have had the partition, and nothing of it is under way."""
    return task.is_suspended and group_metadata.continues(task.group_metadata)


def _names(tps: Iterable[TP]) -> str:
    return ", ".join(sorted(map(_name, tps)))


def _name(tp: TP) -> str:
    return f"{tp.topic}:{tp.partition}"
