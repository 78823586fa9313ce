"""One partition's session, without a broker: order, abandoning, back-pressure, who is called when."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from consent_runtime.transport.contract import Chunk, Ownership, Stream
from consent_runtime.transport.membership import Lease, Membership
from consent_runtime.transport.session import Session, SessionStuck

LEASE = Lease(generation=1, member_id="m")


@dataclass(frozen=True)
class Read:
    offset: int
    topic: str = "t"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = b"v"
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Handler:
    def __init__(self) -> None:
        self.got: list[Chunk] = []
        self.closed = 0
        self.running = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.keep = False
        self.stubborn = False
        self.ownership: Ownership | None = None

    async def process(self, chunk: Chunk) -> None:
        assert self.running == 0
        assert self.closed == 0
        self.running += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            if self.stubborn:
                await asyncio.sleep(3600)
            raise
        finally:
            self.running -= 1
        self.got.append(chunk)
        if not self.keep:
            chunk.acknowledge()

    async def close(self) -> None:
        assert self.running == 0
        self.closed += 1


class Desk:
    """A session, its handler, and what it reported."""

    def __init__(self) -> None:
        self.handler = Handler()
        self.failures: list[BaseException] = []
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.now = 0.0
        """What the session's clock says, in seconds."""
        self.session = Session(
            Stream(name="s", group="g", topics=("t",), open=self.open),
            "t",
            0,
            lease=LEASE,
            membership=Membership(session_timeout=6.0),
            max_outstanding=10,
            patience=0.05,
            stalled_after=60.0,
            failed=self.failures.append,
            changed=lambda: None,
            clock=lambda: self.now,
        )

    async def open(self, topic: str, partition: int, ownership: Ownership) -> Handler:
        await self.may_open.wait()
        self.handler.ownership = ownership
        return self.handler

    async def opened(self) -> None:
        self.session.start()
        await self.settled()
        assert self.session.opened

    def feed(self, first: int, count: int) -> Chunk:
        chunk = self.session.deliver([Read(first + index) for index in range(count)], first + count)
        assert chunk is not None
        self.session.enqueue(chunk)
        return chunk

    async def settled(self) -> None:
        await asyncio.sleep(0.01)


@pytest.fixture
def desk() -> Iterator[Desk]:
    return Desk()


async def test_chunks_are_processed_in_order_and_one_at_a_time(desk: Desk) -> None:
    await desk.opened()
    chunks = [desk.feed(first, 2) for first in (0, 2, 4)]
    await desk.settled()
    assert desk.handler.got == chunks
    assert desk.session.tracker.committable == 6
    await desk.session.close()


async def test_no_record_is_taken_before_recovery_is_done(desk: Desk) -> None:
    desk.may_open.clear()
    desk.session.start()
    await desk.settled()
    assert not desk.session.wants_records
    assert desk.session.deliver([Read(0)], 1) is None
    desk.may_open.set()
    await desk.settled()
    assert desk.session.wants_records
    await desk.session.close()


async def test_an_exception_acknowledges_nothing_and_is_reported(desk: Desk) -> None:
    await desk.opened()

    async def buggy(chunk: Chunk) -> None:
        raise RuntimeError("a bug")

    desk.handler.process = buggy  # type: ignore[method-assign]
    desk.feed(0, 3)
    await desk.settled()
    assert [str(failure) for failure in desk.failures] == ["a bug"]
    assert desk.session.tracker.committable is None
    assert not desk.session.wants_records
    await desk.session.close()


async def test_a_partition_above_its_bound_is_paused_until_half_is_acknowledged(desk: Desk) -> None:
    desk.handler.keep = True
    await desk.opened()
    chunks = [desk.feed(first, 4) for first in (0, 4)]
    assert desk.session.wants_records
    chunks.append(desk.feed(8, 4))
    assert not desk.session.wants_records
    await desk.settled()
    chunks[2].acknowledge()
    assert not desk.session.wants_records
    chunks[0].acknowledge()
    assert desk.session.wants_records
    assert desk.session.tracker.committable == 4
    await desk.session.close()


async def test_an_idle_session_is_kept_over_a_rebalance(desk: Desk) -> None:
    await desk.opened()
    desk.feed(0, 2)
    await desk.settled()
    await desk.session.suspend()
    assert desk.session.suspended
    assert desk.handler.closed == 0
    desk.session.resume(Lease(generation=2, member_id="m"))
    chunk = desk.feed(2, 2)
    await desk.settled()
    assert desk.handler.got[-1] is chunk
    await desk.session.close()
    assert desk.handler.closed == 1


async def test_a_chunk_that_takes_too_long_is_abandoned_before_the_handler_is_closed(desk: Desk) -> None:
    desk.handler.gate.clear()
    await desk.opened()
    desk.feed(0, 2)
    desk.feed(2, 2)
    await desk.settled()
    await desk.session.suspend()
    assert desk.handler.closed == 1
    assert desk.handler.got == []
    assert desk.session.tracker.committable is None
    assert not desk.session.suspended


async def test_a_chunk_that_is_finished_in_time_is_acknowledged_and_the_next_is_not_begun(desk: Desk) -> None:
    desk.handler.gate.clear()
    await desk.opened()
    first = desk.feed(0, 2)
    desk.feed(2, 2)
    await desk.settled()
    asyncio.get_running_loop().call_later(0.01, desk.handler.gate.set)
    await desk.session.suspend()
    assert desk.handler.got == [first]
    assert desk.session.tracker.committable == 2
    await desk.session.close()


async def test_effects_still_under_way_make_the_handler_close(desk: Desk) -> None:
    desk.handler.keep = True
    await desk.opened()
    desk.feed(0, 2)
    await desk.settled()
    await desk.session.suspend()
    assert desk.handler.closed == 1


async def test_a_recovery_under_way_is_given_up_when_the_partition_goes(desk: Desk) -> None:
    desk.may_open.clear()
    desk.session.start()
    await desk.settled()
    await desk.session.suspend()
    assert not desk.session.opened
    assert desk.handler.closed == 0


async def test_a_late_acknowledgement_changes_nothing(desk: Desk) -> None:
    desk.handler.keep = True
    await desk.opened()
    chunk = desk.feed(0, 2)
    await desk.settled()
    await desk.session.close()
    chunk.acknowledge()
    assert desk.session.tracker.committable is None


async def test_a_handler_that_does_not_let_go_is_reported_as_stuck(desk: Desk) -> None:
    desk.handler.stubborn = True
    desk.handler.gate.clear()
    await desk.opened()
    desk.feed(0, 2)
    await desk.settled()
    with pytest.raises(SessionStuck):
        await desk.session.close()


async def test_ownership_ends_with_the_session(desk: Desk) -> None:
    await desk.opened()
    assert desk.handler.ownership is not None
    assert not desk.handler.ownership.fresh()  # No heartbeat has been answered yet.
    desk.session._ownership._membership._confirmed_at = asyncio.get_running_loop().time()
    assert desk.handler.ownership.fresh()
    await desk.session.suspend()
    assert not desk.handler.ownership.fresh()
    await desk.session.close()


async def test_a_session_waits_for_the_previous_one_of_its_partition(desk: Desk) -> None:
    ended = asyncio.Event()
    previous = asyncio.ensure_future(ended.wait())
    desk.session.start(after=[previous])
    await desk.settled()
    assert not desk.session.opened
    ended.set()
    await desk.settled()
    assert desk.session.opened
    await desk.session.close()


async def test_an_idle_partition_that_is_read_does_not_stall(desk: Desk) -> None:  # R41
    await desk.opened()
    for _ in range(100):
        desk.now += 30
        desk.session.passed(0)
    assert desk.session.stalled is None
    desk.now += 61
    assert desk.session.stalled == "t:0: not read for 61 s"
    desk.session.passed(0)
    assert desk.session.stalled is None
    await desk.session.close()


async def test_a_process_that_never_returns_stalls_its_partition_until_it_does(desk: Desk) -> None:  # R41
    desk.handler.gate.clear()
    await desk.opened()
    desk.now = 1_000
    desk.feed(0, 3)
    desk.feed(3, 4)
    await desk.settled()
    desk.now += 60
    desk.session.passed(7)
    assert desk.session.stalled is None
    desk.now += 1
    assert desk.session.stalled == "t:0: 7 records unacknowledged, no progress for 61 s"
    desk.handler.gate.set()
    await desk.settled()
    assert desk.session.stalled is None
    await desk.session.close()


async def test_what_comes_later_does_not_hide_a_chunk_that_is_never_acknowledged(desk: Desk) -> None:  # R41
    desk.handler.keep = True
    await desk.opened()
    forgotten = desk.feed(0, 2)
    for first in (2, 4, 6, 8):
        desk.now += 20
        desk.feed(first, 2).acknowledge()
        await desk.settled()
    assert desk.session.stalled == "t:0: 2 records unacknowledged, no progress for 80 s"
    forgotten.acknowledge()
    assert desk.session.stalled is None
    await desk.session.close()


async def test_a_chunk_that_beats_is_waited_for(desk: Desk) -> None:  # R41
    desk.handler.keep = True
    await desk.opened()
    oldest, newer = desk.feed(0, 2), desk.feed(2, 2)
    for _ in range(10):
        desk.now += 50
        oldest.beat()
    assert desk.session.stalled is None
    desk.now += 50
    newer.beat()
    desk.now += 50
    newer.beat()
    assert desk.session.stalled == "t:0: 4 records unacknowledged, no progress for 100 s"
    oldest.acknowledge()
    assert desk.session.stalled is None
    desk.now += 70
    newer.beat()
    assert desk.session.stalled is None
    await desk.session.close()


async def test_a_partition_that_recovers_long_is_not_said_to_stall(desk: Desk) -> None:
    desk.may_open.clear()
    desk.session.start()
    await desk.settled()
    desk.now += 1_000
    assert desk.session.stalled is None
    desk.may_open.set()
    await desk.settled()
    assert desk.session.stalled is None
    await desk.session.close()


async def test_a_rebalance_that_does_not_end_shows(desk: Desk) -> None:  # R41
    await desk.opened()
    await desk.session.suspend()
    desk.now += 61
    assert desk.session.stalled == "t:0: not read for 61 s"
    desk.session.resume(Lease(generation=2, member_id="m"))
    assert desk.session.stalled is None
    await desk.session.close()
