"""Keeps a partition's ListState beside its merge and publishes it. Lives in the loop's thread.

A record states a fact, so it is written without a transaction after the commit that makes it true; one that comes late
or twice is only old.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from consent_kafka.errors import DeliveryFailedError
from consent_service.clock import elapsed_micros
from consent_service.clock_check import ClockCheck
from consent_service.retry import Backoff, Failure, retry_async
from consent_state import RestoreFailedError
from suppression.errors import TopicsChangedError
from suppression.merge.lanes import Lane
from suppression.metrics import MergeMetrics
from suppression.resolved.list_state import Facts, ListState, ListTopics, ResolvedMark, advance, begin, find_misfit
from suppression.resolved.topic import ResolvedTopic

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 0.25
"""Between two records of a partition."""

CHECK_SECONDS = 5.0
"""Between two comparisons of the positions with the topics."""

BACKOFF = Backoff((1.0,))


class ResolvedPublisher:
    """Begin, then advance after each commit, while `publish` and `watch` run; then close."""

    def __init__(
        self,
        *,
        partition: int,
        list_topics: ListTopics,
        resolved_topic: ResolvedTopic,
        ask_facts: Callable[[], Facts],
        metrics: MergeMetrics,
        owned: Callable[[], bool],
        clock: Callable[[], int],
        clock_check: ClockCheck,
    ) -> None:
        """`ask_facts` blocks and raises RestoreFailedError; `clock` gives microseconds since the epoch. `clock_check`
        hears when each record was sent and appended.

        `owned` reports whether this process surely owns the partition now.
        """
        self._partition = partition
        self._list_topics = list_topics
        self._resolved_topic = resolved_topic
        self._ask_facts = ask_facts
        self._metrics = metrics
        self._owned = owned
        self._clock = clock
        self._clock_check = clock_check
        self._stopping = threading.Event()
        self._changed = asyncio.Event()
        self._state: ListState | None = None

    @property
    def state(self) -> ListState:
        """Only after `begin`."""
        assert self._state is not None
        return self._state

    def position(self, lane: Lane) -> int:
        """The offset of the lane's changes topic to merge next."""
        return self.state.inputs[self._list_topics.inputs[lane]].offset

    async def begin(self, waiting: Callable[[str], None]) -> bool:
        """Take up what was published last and compare it with the topics, waiting for a broker that does not answer.

        Called with the writer open, so that nothing is written to the lists meanwhile. Whether the lists may lack
        entries that the local state holds. Raises StoppedError.
        """

        def report(failure: Failure[RestoreFailedError]) -> None:
            self._report(failure)
            waiting(f"comparing positions: {failure.error}")

        async def ask() -> tuple[ListState | None, Facts]:
            return (
                await asyncio.to_thread(self._resolved_topic.last, self._stopping),
                await asyncio.to_thread(self._ask_facts),
            )

        recorded, facts = await retry_async(ask, on=RestoreFailedError, backoff=BACKOFF, report=report)
        beginning = begin(recorded, facts, self._list_topics, _new_id)
        if recorded is None:
            log.warning(
                "a partition has a hole: it is new, or Kafka was wiped; nothing is permitted in it until the relay has"
                " published the ledger",
                extra={"partition": self._partition},
            )
        elif beginning.losses:
            log.warning(
                "a partition has a hole", extra={"partition": self._partition, "lost": "; ".join(beginning.losses)}
            )
        self._become(beginning.state)
        return beginning.lists_lost

    async def advance(
        self, lane: Lane, first: int, offset: int, marks: Sequence[ResolvedMark], ends: Mapping[str, int]
    ) -> None:
        """Everything of the lane from its position up to `offset` is committed, and its dead letters are written.

        `first` is the offset of the first record of it, `ends` are those after the last entries written. Raises
        TopicsChangedError where these cannot follow on the offsets known.
        """
        for topic, end in ends.items():
            if end < self.state.lists[topic].offset:
                raise TopicsChangedError(f"{topic} ends at {end} after {self.state.lists[topic].offset}")
        position = self.position(lane)
        if first < position:
            raise TopicsChangedError(f"{self._list_topics.inputs[lane]} was read at {first} after {position}")
        if first > position:
            # Transaction markers leave such a gap, and so do records that were deleted before they were read.
            await self._compare_until_answered()
        before = self.state
        self._become(
            advance(
                before,
                lane=lane,
                topic=self._list_topics.inputs[lane],
                offset=offset,
                marks=marks,
                ends=ends,
                new_id=_new_id,
            )
        )
        if self.state.loss != before.loss:
            log.warning(
                "a partition has a hole: the relay reports that Kafka has lost records",
                extra={"partition": self._partition, "topic": self._list_topics.inputs[lane]},
            )
        if (before.hole or before.channel_holes) and not (self.state.hole or self.state.channel_holes):
            log.info("the holes of a partition are repaired", extra={"partition": self._partition})

    async def publish(self) -> None:
        """Publish each change soon, a few a second at most. Runs until it is cancelled."""
        while True:
            await self._changed.wait()
            if self._owned():
                self._changed.clear()
                await self._write()
            await asyncio.sleep(PUBLISH_SECONDS)

    async def watch(self) -> None:
        """Compare the positions with the topics every few seconds. Ends with TopicsChangedError."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self._compare()
            except RestoreFailedError as error:
                log.warning("positions cannot be compared", extra={"partition": self._partition, "error": str(error)})

    def stop(self) -> None:
        """End a `begin` that is under way."""
        self._stopping.set()

    def close(self) -> None:
        """Withdraw the gauges."""
        if self._state is not None:
            self._export(None)
            self._state = None

    async def _write(self) -> None:
        sent_at = elapsed_micros()
        try:
            append_time = await self._resolved_topic.write(self.state, self._clock())
        except DeliveryFailedError as failed:
            if not failed.retriable:
                raise
            log.warning("a resolved record was not written", extra={"partition": self._partition, "code": failed.code})
            self._changed.set()
        else:
            if append_time is not None:
                self._clock_check.observe(self._partition, append_time, not_before=sent_at)

    async def _compare(self) -> None:
        before = self.state
        facts = await asyncio.to_thread(self._ask_facts)
        misfit = find_misfit(before, self.state, facts)
        if misfit:
            raise TopicsChangedError(misfit)

    async def _compare_until_answered(self) -> None:
        await retry_async(self._compare, on=RestoreFailedError, backoff=BACKOFF, report=self._report)

    def _report(self, failure: Failure[RestoreFailedError]) -> None:
        log.warning(
            "positions cannot be compared; trying again",
            extra={"partition": self._partition, "error": str(failure.error)},
        )

    def _become(self, state: ListState) -> None:
        self._export(state)
        self._state = state
        self._changed.set()

    def _export(self, state: ListState | None) -> None:
        """Set the gauges of `state`, and withdraw those that only the state before it had."""
        partition = str(self._partition)
        ages, holes = _ages(state), _holes(state)
        for lane in _ages(self._state) - ages:
            self._metrics.resolved_age.remove(partition, lane)
        for lane in ages - _ages(self._state):
            self._metrics.resolved_age.labels(partition, lane).set_function(partial(self._age, lane))
        for scope in _holes(self._state) - holes:
            self._metrics.holes.remove(partition, scope)
        for scope in holes - _holes(self._state):
            self._metrics.holes.labels(partition, scope).set(1)

    def _age(self, name: str) -> float:
        """Seconds. Called by the metrics server's thread."""
        at = _resolved(self._state).get(name)
        return float("nan") if at is None else max(0, self._clock() - at) / 1_000_000


def _resolved(state: ListState | None) -> dict[str, int]:
    """What the age gauge reports, by its label: nothing while the partition has a hole."""
    if state is None or state.hole is not None:
        return {}
    lanes = {str(lane): at for lane, at in state.resolved_at.items()}
    return lanes | {f"inbound_{lane}": at for lane, at in state.inbound_resolved_at.items()}


def _ages(state: ListState | None) -> set[str]:
    return set(_resolved(state))


def _holes(state: ListState | None) -> set[str]:
    if state is None:
        return set()
    return {"all", *state.channel_holes} if state.hole is not None else set(state.channel_holes)


def _new_id() -> str:
    return str(uuid.uuid4())
