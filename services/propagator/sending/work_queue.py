"""The pushes of one destination that wait for a call: a bounded window on the pending index.

Two classes, live before bulk; in each, revocations before permissions: four lanes. In a lane the pushes that may share
a call are a group, ordered by the time since which they are pending. Live ones that can still keep the promise go
first, and every fourth call takes the oldest. A batch goes when it is full, when its oldest push has waited
LINGER_SECONDS, or at once where calls are plentiful. Batches that are not full are filled up from the other class with
pushes of the same action.

A push that does not fit in the window is idle: it stays in the index and is read again (`refill`) when there is space.
A group has space for one call whatever else is in the window: live calls of one target, filled up, would else leave
bulk of the others alone in it, and then go without filling.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from propagator.desired.model import PERMIT, SUPPRESS, Action
from propagator.sending.delivery_state import DeliveryEvent, DeliveryState
from propagator.sending.loop_share import MAX_BULK_BATCH
from propagator.sending.ports import PendingPush
from propagator.sending.queued_push import PushKey, QueuedPush
from propagator.timing import LINGER_SECONDS, PROMISE_SECONDS

WINDOW = 2_000
"""Pushes a lane that are held in memory, beside one call of each group, and as many again that wait for a time of their
own."""
REFILLED_AT = 4
"""A lane is read again when this part of its window is left: each time what is in memory already is read once more."""
OLDEST_EVERY = 4
"""Of so many live calls one takes the oldest pushes, however many younger ones there are."""
MAX_REJECTIONS = 200
"""Pushes that turn out to need no call, for one batch: the event loop is not held up longer."""
_PROMISE_MICROS = int(PROMISE_SECONDS * 1_000_000)
_MAX_VOID_DELAYS = 1_000

_Position = tuple[int, int, QueuedPush]


class Admission(Enum):
    """What is decided of a push that is next for a batch."""

    ADMITTED = auto()
    DROPPED = auto()
    """Nothing is to be delivered, or it waits in the index."""
    MOVED = auto()
    """It was delayed, or offered again for another lane."""


class Lane(NamedTuple):
    """One class and one action."""

    live: bool
    action: Action


LIVE = (Lane(True, SUPPRESS), Lane(True, PERMIT))
BULK = (Lane(False, SUPPRESS), Lane(False, PERMIT))
LANES = (*LIVE, *BULK)


class IndexRead(NamedTuple):
    """What to read of the index for a lane."""

    limit: int
    skip_targets: frozenset[str] = frozenset()
    """Of these there is enough in memory."""


@dataclass(slots=True)
class _Group:
    """Pushes that may share a call, by (since, sequence)."""

    pushes: list[_Position] = field(default_factory=list)
    lingers_since: float = 0.0

    def least_tried(self) -> int:
        """Attempts at the push that was tried least."""
        return min((push.attempts for _, _, push in self.pushes), default=0)

    def young_from(self, now_micros: int) -> int:
        """Index of the first push that can still keep the promise."""
        return bisect_right(self.pushes, now_micros - _PROMISE_MICROS, key=lambda each: each[0])


@dataclass(slots=True)
class _LaneState:
    groups: dict[str, _Group] = field(default_factory=dict)
    ready: int = 0
    delayed: int = 0
    more_in_index: bool = True
    low: set[str] = field(default_factory=set)
    """The groups that gave to a call, and may not have enough for another, since the index was read."""


class WorkQueue:
    """One destination's. Times are seconds of the loop's clock; micros where the name ends so."""

    def __init__(self, *, max_batch: Mapping[Action, int], mixed: bool, window: int = WINDOW) -> None:
        self._max_batch = max_batch
        self._mixed = mixed
        self._window = window
        self._lanes = {lane: _LaneState() for lane in LANES}
        self._pushes: dict[PushKey, QueuedPush] = {}
        self._delayed: list[tuple[float, int, QueuedPush]] = []
        self._live_revocations: deque[QueuedPush] = deque()
        """Those that have no `queued` receipt yet, about in the order in which they were queued."""
        self._sequence = 0
        self._live_batches = 0
        self.in_flight = 0
        """Pushes in a call."""

    def __len__(self) -> int:
        """Pushes that are queued or in flight."""
        return len(self._pushes)

    def __iter__(self) -> Iterator[QueuedPush]:
        return iter(list(self._pushes.values()))

    def state_of(self, address_key: str, target: str) -> DeliveryState:
        found = self._pushes.get(PushKey(address_key, target))
        return DeliveryState.IDLE if found is None else found.state

    @property
    def waiting_permissions(self) -> int:
        """Permissions that are delayed as they may not be sent now."""
        return sum(push.waits_for_permission and push.due_at == due_at for due_at, _, push in self._delayed)

    def take_late(self, queued_by: int, *, limit: int) -> list[QueuedPush]:
        """Live revocations, at most `limit`, that were queued until `queued_by` (micros) and are not delivered yet.

        Each is returned once.
        """
        found: list[QueuedPush] = []
        while self._live_revocations and len(found) < limit and self._live_revocations[0].queued_at <= queued_by:
            push = self._live_revocations.popleft()
            if push.state is not DeliveryState.IDLE and not push.queued_receipt:
                found.append(push)
        return found

    def has_ready(self, lane: Lane) -> bool:
        return self._lanes[lane].ready > 0

    # Into the queue

    def offer(self, row: PendingPush, *, now: float, now_micros: int, answers: int = 0) -> bool:
        """The row is new or has changed. Whether it is a push that was idle and is queued now.

        A push in flight is looked at again when its call has ended, unless the row is what the call was made from:
        then whatever else has changed is found when the outcome is read back, as its address is planned again.
        """
        push = self._pushes.get(PushKey(row.address_key, row.target))
        if push is not None:
            if push.in_flight:
                if row != push.row:
                    push.row = row
                    push.apply(DeliveryEvent.CHANGED)
                return False
            self._take_out(push)
            was_watched = _is_live_revocation(push)
            push.row = row
        elif not row.live and not self._has_space(Lane(False, row.action), self._group_name(row)):
            # A fill offers every row that it finds: the index keeps them.
            self._lanes[Lane(False, row.action)].more_in_index = True
            return False
        else:
            push = self._new(row, now_micros, answers)
            was_watched = False
        if not was_watched and _is_live_revocation(push):
            self._live_revocations.append(push)
        push.apply(DeliveryEvent.CHANGED)
        return self._put_in(push, _due_at(row, now, now_micros), now=now, now_micros=now_micros)

    def reading(self, lane: Lane) -> IndexRead | None:
        """What to read where the index may hold pushes of the lane for which there is space; None: nothing.

        Enough for the window and those that are in memory already, or for a call of each group that is low.
        """
        state = self._lanes[lane]
        if not state.more_in_index:
            return None
        if state.ready <= self._window // REFILLED_AT:
            return IndexRead(self._window + self.waiting(lane) + self.in_flight)
        if not state.low:
            return None
        call = self._max_batch[lane.action]
        enough = {name: len(group.pushes) for name, group in state.groups.items() if len(group.pushes) >= call}
        known = self.waiting(lane) - sum(enough.values()) + self.in_flight
        return IndexRead(call * len(state.low) + known, frozenset(enough))

    def waiting(self, lane: Lane) -> int:
        """Pushes of the lane that are in memory and not in flight."""
        state = self._lanes[lane]
        return state.ready + state.delayed

    def refill(
        self,
        lane: Lane,
        rows: Sequence[PendingPush],
        *,
        reading: IndexRead,
        now: float,
        now_micros: int,
        answers: int = 0,
    ) -> int:
        """The oldest due rows of the index, as `reading` asks for. Those that are in memory already are left as they
        are.

        Returns how many are new.
        """
        state = self._lanes[lane]
        state.more_in_index = len(rows) >= reading.limit or bool(reading.skip_targets)
        state.low.clear()
        new = [row for row in rows if PushKey(row.address_key, row.target) not in self._pushes]
        for row in new:
            self.offer(row, now=now, now_micros=now_micros, answers=answers)
        return len(new)

    def expect_more(self, lanes: Iterable[Lane] = LANES) -> None:
        """The index may hold pushes of the lanes that are not in memory: read it again."""
        for lane in lanes:
            self._lanes[lane].more_in_index = True

    def promote(self, now: float, now_micros: int) -> None:
        """Delayed pushes whose time has come are ready."""
        while self._delayed and self._delayed[0][0] <= now:
            due_at, _, push = heapq.heappop(self._delayed)
            if push.due_at == due_at and push.state is DeliveryState.QUEUED:
                self._lanes[Lane(push.live, push.action)].delayed -= 1
                push.due_at = None
                self._put_in(push, None, now=now, now_micros=now_micros)

    # Out of the queue

    def take(
        self,
        lanes: Iterable[Lane],
        *,
        now: float,
        now_micros: int,
        at_once: bool,
        probing: bool,
        outages: int,
        admit: Callable[[QueuedPush], Admission],
        together: Callable[[Sequence[str]], AbstractContextManager[object]] = nullcontext,
        fill_up: bool = True,
    ) -> list[QueuedPush]:
        """The next batch that is due in the first of these lanes that has one, or nothing. Its pushes are in flight.

        `at_once`: calls are plentiful, so that none waits to be filled, and those of bulk may be smaller. `admit`
        decides on each push, within `together` of the address keys that come next. `probing`: the last call
        failed. What was tried least goes first then, so that one odd address does not make the destination look down,
        and nothing is filled up. `fill_up`: whether a batch may take pushes of the other class; recording their
        outcomes takes a while, in which the call keeps its place.
        """
        draw = _Draw(queue=self, now=now, now_micros=now_micros, outages=outages, admit=admit, together=together)
        for lane in sorted(lanes, key=self._least_tried) if probing else lanes:
            groups = self._lanes[lane].groups
            size = most = self._max_batch[lane.action]
            if at_once:
                most = min(size, MAX_BULK_BATCH)
            if not lane.live:
                size = most
            oldest_first = not lane.live or self._live_batches % OLDEST_EVERY == OLDEST_EVERY - 1
            for name in self._in_turn(groups, now_micros, oldest_first, probing):
                group = groups.get(name)
                if group is None:
                    continue
                if not (at_once or len(group.pushes) >= size or now >= group.lingers_since + LINGER_SECONDS):
                    continue
                group.lingers_since = now
                draw.size = size
                draw.from_group(lane, name, young_first=not oldest_first, least_tried_first=probing)
                if draw.batch and fill_up and not probing and not any(each.unfilled for each in draw.batch):
                    other = Lane(not lane.live, lane.action)
                    draw.size = min(draw.size, max(len(draw.batch), most))
                    draw.from_group(other, name, young_first=other.live, fill=True)
                if draw.batch:
                    self._live_batches += lane.live
                    self._note_low(Lane(False, lane.action), name, most)
                    return draw.batch
                if draw.rejections >= MAX_REJECTIONS:
                    return []
        return []

    def seconds_until_due(self, lanes: Iterable[Lane], now: float) -> float | None:
        """Until a batch of these lanes is due even if it is not full, or a delayed push is; None: nothing waits."""
        groups = [group for lane in lanes for group in self._lanes[lane].groups.values()]
        waits = [group.lingers_since + LINGER_SECONDS - now for group in groups]
        if self._delayed:
            waits.append(self._delayed[0][0] - now)
        return max(0.0, min(waits)) if waits else None

    def delay(self, push: QueuedPush, seconds: float, *, now: float) -> None:
        """A queued push is not looked at for so long. Where too many are delayed it is dropped and read again later."""
        self._take_out(push)
        self._put_in(push, now + seconds, now=now, now_micros=0)

    def drop(self, push: QueuedPush) -> None:
        """A queued push needs no call, or waits in the index."""
        self._take_out(push)
        self._forget(push)

    def remove_targets(self, targets: Iterable[str], *, action: Action | None = None) -> list[QueuedPush]:
        """Drop every queued push of the targets, or those of one action; what is in flight ends by itself."""
        names = set(targets)
        found = [
            each
            for each in self
            if each.row.target in names and each.state is DeliveryState.QUEUED and action in (None, each.action)
        ]
        for push in found:
            self.drop(push)
        return found

    def end(self, push: QueuedPush, *, now: float, now_micros: int, retry_after: float | None = None) -> None:
        """Its call has ended. `retry_after`: seconds until another attempt; None: none.

        A dirty push is looked at again when its new row is due, whatever came of the call: a suppression that has
        replaced a permission does not wait for its backoff.
        """
        dirty = push.state is DeliveryState.IN_FLIGHT_DIRTY
        if retry_after is not None:
            push.apply(DeliveryEvent.CHANGED)
        self.in_flight -= 1
        if push.apply(DeliveryEvent.ENDED) is DeliveryState.IDLE:
            del self._pushes[push.key]
        else:
            if _is_live_revocation(push) and not push.queued_receipt:
                self._live_revocations.append(push)
            due_at = now + retry_after if retry_after else None
            if dirty:
                due_at = _due_at(push.row, now, now_micros)
            self._put_in(push, due_at, now=now, now_micros=now_micros)

    # Within

    def _note_low(self, lane: Lane, name: str, call: int) -> None:
        """After a call that may hold so many pushes, of which those of bulk are of this lane and group."""
        if not self._mixed and self._ready_of(lane, name) < call > 1:
            self._lanes[lane].low.add(name)

    def _has_space(self, lane: Lane, name: str) -> bool:
        return self._lanes[lane].ready < self._window or self._ready_of(lane, name) < self._max_batch[lane.action]

    def _ready_of(self, lane: Lane, name: str) -> int:
        group = self._lanes[lane].groups.get(name)
        return len(group.pushes) if group is not None else 0

    def _new(self, row: PendingPush, now_micros: int, answers: int) -> QueuedPush:
        self._sequence += 1
        push = QueuedPush(row=row, sequence=self._sequence, queued_at=now_micros, answers_seen=answers)
        self._pushes[push.key] = push
        return push

    def _forget(self, push: QueuedPush) -> None:
        push.apply(DeliveryEvent.DROPPED)
        del self._pushes[push.key]

    def _put_in(self, push: QueuedPush, due_at: float | None, *, now: float, now_micros: int) -> bool:
        """Into its group or among the delayed; without space for it the push is dropped. Whether it is ready."""
        lane = Lane(push.live, push.action)
        state = self._lanes[lane]
        if due_at is not None and due_at > now:
            if state.delayed >= self._window:
                self._forget(push)
                return False
            state.delayed += 1
            push.due_at = due_at
            heapq.heappush(self._delayed, (due_at, push.sequence, push))
            self._drop_void_delays()
            return False
        name = self._group_name(push.row)
        if not self._has_space(lane, name) and not self._make_space(push, now_micros):
            state.more_in_index = True
            self._forget(push)
            return False
        group = state.groups.setdefault(name, _Group(lingers_since=now))
        state.ready += 1
        insort(group.pushes, (push.row.since, push.sequence, push))
        return True

    def _make_space(self, push: QueuedPush, now_micros: int) -> bool:
        """A live push that can keep the promise takes the place of one that no longer can."""
        if not push.live or push.row.since <= now_micros - _PROMISE_MICROS:
            return False
        state = self._lanes[Lane(push.live, push.action)]
        for group in state.groups.values():
            if young_from := group.young_from(now_micros):
                state.more_in_index = True
                self.drop(group.pushes[young_from - 1][2])
                return True
        return False

    def _drop_void_delays(self) -> None:
        if len(self._delayed) > _MAX_VOID_DELAYS + 2 * sum(state.delayed for state in self._lanes.values()):
            self._delayed = [each for each in self._delayed if each[2].due_at == each[0]]
            heapq.heapify(self._delayed)

    def _take_out(self, push: QueuedPush) -> None:
        """From wherever a queued push waits."""
        state = self._lanes[Lane(push.live, push.action)]
        if push.due_at is not None:
            push.due_at = None  # Its place in the heap is void.
            state.delayed -= 1
            return
        name = self._group_name(push.row)
        group = state.groups.get(name)
        if group is None:
            return
        index = bisect_left(group.pushes, (push.row.since, push.sequence), key=lambda each: each[:2])
        if index < len(group.pushes) and group.pushes[index][2] is push:
            self._pop(Lane(push.live, push.action), name, index)

    def _pop(self, lane: Lane, name: str, index: int) -> QueuedPush:
        state = self._lanes[lane]
        group = state.groups[name]
        _, _, push = group.pushes.pop(index)
        state.ready -= 1
        if not group.pushes:
            del state.groups[name]
        return push

    def _group_name(self, row: PendingPush) -> str:
        return "" if self._mixed else row.target

    def _in_turn(self, groups: Mapping[str, _Group], now_micros: int, oldest_first: bool, probing: bool) -> list[str]:
        """The groups of a lane in the order in which they are looked at. A probe is of what was tried least, so that
        one target that takes nothing does not hold up the others."""

        def turn(name: str) -> tuple[int, tuple[int, float]]:
            group = groups[name]
            return group.least_tried() if probing else 0, self._turn(group, now_micros, oldest_first)

        return sorted(groups, key=turn)

    def _least_tried(self, lane: Lane) -> int:
        """For the same reason: a probe is not of the first lane while another has what was tried less."""
        return min((group.least_tried() for group in self._lanes[lane].groups.values()), default=0)

    @staticmethod
    def _turn(group: _Group, now_micros: int, oldest_first: bool) -> tuple[int, float]:
        """By it the groups of a lane take turns: how long the push that goes first has been pending, and then how long
        the group has waited, so that the targets of an import's addresses are served together: their rows are then
        read, committed and planned once."""
        young_from = 0 if oldest_first else group.young_from(now_micros)
        return group.pushes[young_from if young_from < len(group.pushes) else 0][0], group.lingers_since


def _due_at(row: PendingPush, now: float, now_micros: int) -> float | None:
    """When it may be sent, seconds of the loop's clock; None: now."""
    return now + (row.not_before - now_micros) / 1_000_000 if row.not_before > now_micros else None


def _is_live_revocation(push: QueuedPush) -> bool:
    return push.live and push.action == SUPPRESS


@dataclass(kw_only=True, slots=True)
class _Draw:
    """One batch in the making."""

    queue: WorkQueue
    now: float
    now_micros: int
    outages: int
    admit: Callable[[QueuedPush], Admission]
    together: Callable[[Sequence[str]], AbstractContextManager[object]]
    size: int = 0
    batch: list[QueuedPush] = field(default_factory=list)
    rejections: int = 0

    def from_group(
        self, lane: Lane, name: str, *, young_first: bool, least_tried_first: bool = False, fill: bool = False
    ) -> None:
        """Add pushes of the group until the batch is full, or the next one may not share it."""
        group = self.queue._lanes[lane].groups.get(name)
        if group is None:
            return
        first = group.young_from(self.now_micros) if young_first else 0
        first = first if first < len(group.pushes) else 0
        limit = group.pushes[first][2].batch_limit(self.size, self.outages)
        next_ones = group.pushes[first : first + max(0, limit - len(self.batch))]
        with self.together([push.row.address_key for _, _, push in next_ones]):
            self._draw(lane, name, young_first=young_first, least_tried_first=least_tried_first, fill=fill)

    def _draw(self, lane: Lane, name: str, *, young_first: bool, least_tried_first: bool, fill: bool) -> None:
        groups = self.queue._lanes[lane].groups
        while len(self.batch) < self.size and self.rejections < MAX_REJECTIONS and (group := groups.get(name)):
            index = group.young_from(self.now_micros) if young_first else 0
            if least_tried_first and not self.batch:
                index = min(range(len(group.pushes)), key=lambda each: group.pushes[each][2].attempts)
            if index >= len(group.pushes):
                index = 0
            push = group.pushes[index][2]
            limit = push.batch_limit(self.size, self.outages)
            if len(self.batch) >= limit or (fill and limit < self.size) or (fill and push.unfilled):
                return
            self.queue._pop(lane, name, index)
            admission = self.admit(push)
            if admission is Admission.ADMITTED:
                push.apply(DeliveryEvent.STARTED)
                self.queue.in_flight += 1
                self.batch.append(push)
                self.size = limit
                continue
            self.rejections += 1
            if admission is Admission.DROPPED:
                self.queue._forget(push)
