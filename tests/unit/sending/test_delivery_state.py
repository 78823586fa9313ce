"""The transition table of a push's delivery, and any sequence of events over the queue that uses it."""

from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from propagator.desired.model import PERMIT, SUPPRESS
from propagator.errors import InvalidTransitionError
from propagator.sending.delivery_state import DeliveryEvent, DeliveryState, transition
from propagator.sending.ports import PendingPush
from propagator.sending.queued_push import PushKey, QueuedPush
from propagator.sending.work_queue import LANES, Admission, Lane, WorkQueue

SECOND = 1_000_000
ALLOWED = {
    ("idle", "changed"): "queued",
    ("queued", "changed"): "queued",
    ("queued", "started"): "in flight",
    ("queued", "dropped"): "idle",
    ("in flight", "changed"): "in flight and dirty",
    ("in flight", "ended"): "idle",
    ("in flight and dirty", "changed"): "in flight and dirty",
    ("in flight and dirty", "ended"): "queued",
}


@pytest.mark.parametrize(("state", "event"), list(product(DeliveryState, DeliveryEvent)))
def test_a_transition_is_in_the_table_or_refused(state: DeliveryState, event: DeliveryEvent) -> None:
    following = ALLOWED.get((state.value, event.value))
    if following is None:
        with pytest.raises(InvalidTransitionError):
            transition(state, event)
    else:
        assert transition(state, event).value == following


def test_a_push_that_changed_during_its_call_waits_until_its_new_row_is_due() -> None:
    queue = WorkQueue(max_batch={SUPPRESS: 1, PERMIT: 1}, mixed=False)

    def row(*, not_before: int) -> PendingPush:
        return PendingPush(address_key="h1.a", target="t1", kind=PERMIT, live=True, since=0, not_before=not_before)

    def take(now: float) -> list[QueuedPush]:
        queue.promote(now, int(now * SECOND))
        return queue.take(
            LANES,
            now=now,
            now_micros=int(now * SECOND),
            at_once=True,
            probing=False,
            outages=0,
            admit=lambda _: Admission.ADMITTED,
        )

    queue.offer(row(not_before=0), now=100.0, now_micros=100 * SECOND)
    [push] = take(100.0)
    queue.offer(row(not_before=107 * SECOND), now=100.0, now_micros=100 * SECOND)
    queue.end(push, now=100.0, now_micros=100 * SECOND)
    assert take(106.0) == []
    assert take(107.0) == [push]


def test_a_push_in_flight_is_looked_at_again_only_where_its_row_is_another() -> None:
    """Every outcome that is recorded is read back, and its address planned again: nothing is lost."""
    queue = WorkQueue(max_batch={SUPPRESS: 1, PERMIT: 1}, mixed=False)
    row = PendingPush(address_key="h1.a", target="t1", kind=PERMIT, live=True, since=7)
    queue.offer(row, now=100.0, now_micros=100 * SECOND)
    [push] = queue.take(
        LANES,
        now=100.0,
        now_micros=100 * SECOND,
        at_once=True,
        probing=False,
        outages=0,
        admit=lambda _: Admission.ADMITTED,
    )
    queue.offer(row, now=100.0, now_micros=100 * SECOND)
    assert push.state is DeliveryState.IN_FLIGHT
    replaced = PendingPush(address_key="h1.a", target="t1", kind=SUPPRESS, live=True, since=7)
    queue.offer(replaced, now=100.0, now_micros=100 * SECOND)
    assert (push.state, push.row) == (DeliveryState.IN_FLIGHT_DIRTY, replaced)


@pytest.mark.parametrize(
    ("plentiful", "live", "size"), [(True, 0, 500), (False, 0, 1_000), (True, 3, 500), (False, 3, 1_000)]
)
def test_a_call_takes_all_that_it_can_hold_where_calls_are_scarce(plentiful: bool, live: int, size: int) -> None:
    queue = WorkQueue(max_batch={SUPPRESS: 1_000, PERMIT: 1}, mixed=False)
    for number in range(1_200):
        row = PendingPush(address_key=f"h1.{number}", target="t1", kind=SUPPRESS, live=number < live, since=number)
        queue.offer(row, now=100.0, now_micros=100 * SECOND)
    batch = queue.take(
        LANES,
        now=101.0,
        now_micros=101 * SECOND,
        at_once=plentiful,
        probing=False,
        outages=0,
        admit=lambda _: Admission.ADMITTED,
    )
    assert len(batch) == size
    assert sum(push.live for push in batch) == live


ADDRESSES = st.sampled_from([f"h1.{letter}" for letter in "abcdefgh"])
TARGETS = st.sampled_from(["t1", "t2"])


class QueueMachine(RuleBasedStateMachine):
    """The queue against a model that knows of each push what was offered last, and whether it is in a call."""

    @initialize(window=st.sampled_from([2, 3, 100]), mixed=st.booleans(), batch=st.integers(1, 4))
    def begin(self, window: int, mixed: bool, batch: int) -> None:
        self.window, self.mixed, self.batch = window, mixed, batch
        self.queue = WorkQueue(max_batch={SUPPRESS: batch, PERMIT: batch}, mixed=mixed, window=window)
        self.now = 100.0
        self.newest: dict[PushKey, PendingPush] = {}
        """Every push that was offered and not delivered since."""
        self.calls: list[list[QueuedPush]] = []

    @property
    def now_micros(self) -> int:
        return int(self.now * SECOND)

    @rule(
        address=ADDRESSES,
        to=TARGETS,
        kind=st.sampled_from([SUPPRESS, PERMIT]),
        live=st.booleans(),
        age=st.sampled_from([0, 1, 4, 6, 60]),
        wait=st.sampled_from([0, 0, 0, 3]),
    )
    def offer(self, address: str, to: str, kind: str, live: bool, age: int, wait: int) -> None:
        row = PendingPush(
            address_key=address,
            target=to,
            kind=kind,  # type: ignore[arg-type]
            live=live,
            since=self.now_micros - age * SECOND,
            not_before=self.now_micros + wait * SECOND if wait else 0,
        )
        self.newest[PushKey(address, to)] = row
        self.queue.offer(row, now=self.now, now_micros=self.now_micros)

    @rule(
        lanes=st.permutations(LANES),
        at_once=st.booleans(),
        probing=st.booleans(),
        drops=st.sets(ADDRESSES, max_size=2),
        delays=st.sets(ADDRESSES, max_size=2),
    )
    def take(self, lanes: list[Lane], at_once: bool, probing: bool, drops: set[str], delays: set[str]) -> None:
        self.queue.promote(self.now, self.now_micros)

        def admit(push: QueuedPush) -> Admission:
            if push.row.address_key in drops:
                self.newest.pop(push.key, None)
                return Admission.DROPPED
            if push.row.address_key in delays:
                self.queue.delay(push, 2.0, now=self.now)
                return Admission.MOVED
            return Admission.ADMITTED

        batch = self.queue.take(
            lanes, now=self.now, now_micros=self.now_micros, at_once=at_once, probing=probing, outages=0, admit=admit
        )
        if not batch:
            return
        in_flight = {push.key for call in self.calls for push in call}
        keys = [push.key for push in batch]
        assert len(batch) <= self.batch
        assert len(set(keys)) == len(keys)
        assert not in_flight & set(keys), "one call a target at a time"
        assert len({push.row.kind for push in batch}) == 1, "never a permission in a call with a revocation"
        assert self.mixed or len({push.row.target for push in batch}) == 1
        for push in batch:
            assert push.row == self.newest[push.key], "only the newest state is sent"
            assert push.row.not_before <= self.now_micros
        self.calls.append(batch)

    @precondition(lambda self: self.calls)
    @rule(index=st.integers(0, 100), retries=st.sets(st.integers(0, 3)), wait=st.sampled_from([0.0, 2.0]))
    def end(self, index: int, retries: set[int], wait: float) -> None:
        for position, push in enumerate(self.calls.pop(index % len(self.calls))):
            dirty = push.state is DeliveryState.IN_FLIGHT_DIRTY
            retry = position in retries
            self.queue.end(push, now=self.now, now_micros=self.now_micros, retry_after=wait if retry else None)
            if not dirty and not retry:
                del self.newest[push.key]

    @rule(seconds=st.sampled_from([0.01, 0.03, 1.0, 7.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.queue.promote(self.now, self.now_micros)

    @rule(unknown=TARGETS)
    def quarantine(self, unknown: str) -> None:
        for push in self.queue.remove_targets([unknown]):
            assert push.row.target == unknown

    @rule()
    def refill(self) -> None:
        for lane in LANES:
            reading = self.queue.reading(lane)
            if reading is None:
                continue
            rows = sorted(
                (
                    row
                    for row in self.newest.values()
                    if Lane(row.live, row.kind) == lane  # type: ignore[arg-type]
                    and row.not_before <= self.now_micros
                    and row.target not in reading.skip_targets
                ),
                key=lambda row: row.since,
            )
            found = rows[: reading.limit]
            self.queue.refill(lane, found, reading=reading, now=self.now, now_micros=self.now_micros)

    @invariant()
    def memory_is_bounded(self) -> None:
        if not hasattr(self, "queue"):
            return
        held = list(self.queue)
        beside = 0 if self.mixed else 2 * self.batch
        assert len(held) - self.queue.in_flight <= len(LANES) * (2 * self.window + beside)
        assert self.queue.in_flight == sum(len(call) for call in self.calls)
        for push in held:
            assert push.state is not DeliveryState.IDLE
            assert push.key in self.newest

    @invariant()
    def nothing_is_lost(self) -> None:
        """What was offered and is not in memory comes back with the next reading of the index."""
        if not hasattr(self, "queue"):
            return
        held = {push.key for push in self.queue}
        missing = {
            Lane(row.live, row.kind)  # type: ignore[arg-type]
            for key, row in self.newest.items()
            if key not in held and row.not_before <= self.now_micros
        }
        self.queue.expect_more()
        for lane in missing:
            full = sum(Lane(push.live, push.action) == lane for push in self.queue) >= self.window // 2
            assert self.queue.reading(lane) is not None or full

    def teardown(self) -> None:
        """With time, calls and refills every push is taken in the end."""
        if not hasattr(self, "queue"):
            return
        while self.calls:
            self.end(0, set(), 0.0)
        for _ in range(200):
            self.now += 10.0
            self.queue.promote(self.now, self.now_micros)
            self.queue.expect_more()
            self.refill()
            self.take(list(LANES), True, False, set(), set())
            while self.calls:
                self.end(0, set(), 0.0)
            if not self.newest:
                break
        assert not self.newest
        assert len(self.queue) == 0


QueueMachine.TestCase.settings = settings(
    max_examples=2 * settings().max_examples // 5, stateful_step_count=40, deadline=None
)
TestQueue = QueueMachine.TestCase
