"""One partition's task, without a broker: order, abandoning, back-pressure, who is called when."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from consent_kafka.errors import PartitionStuckError
from consent_kafka.transport.api import Chunk, Ownership, StreamSpec
from consent_kafka.transport.membership import ConsumerGroupMetadata, Membership
from consent_kafka.transport.partition_task import PartitionTask

GROUP_METADATA = ConsumerGroupMetadata(generation=1, member_id="m")


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


class FakeMembership(Membership):
    """Confirmed when a test says so."""

    def __init__(self) -> None:
        super().__init__(session_timeout=6.0)
        self.heard = False

    def confirmed(self) -> bool:
        return self.heard


class SessionRig:
    """A task, its handler, and what it reported."""

    def __init__(self) -> None:
        self.handler = Handler()
        self.failures: list[BaseException] = []
        self.membership = FakeMembership()
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.now = 0.0
        """The task's clock, in seconds."""
        self.task = PartitionTask(
            StreamSpec(name="s", group="g", topics=("t",), open=self.open),
            "t",
            0,
            group_metadata=GROUP_METADATA,
            membership=self.membership,
            max_outstanding=10,
            drain_timeout=0.05,
            close_timeout=0.2,
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
        self.task.start()
        await self.settled()
        assert self.task.opened

    def feed(self, first: int, count: int) -> Chunk:
        chunk = self.task.deliver([Read(first + index) for index in range(count)], first + count)
        assert chunk is not None
        self.task.enqueue(chunk)
        return chunk

    def read(self, position: int, *, end: int, stable: int | None = None) -> None:
        """The broker gave nothing more."""
        self.task.advance_to(position)
        self.task.observe_end(stable=end if stable is None else stable, end=end)

    async def settled(self) -> None:
        await asyncio.sleep(0.01)


@pytest.fixture
def rig() -> Iterator[SessionRig]:
    return SessionRig()


async def test_chunks_are_processed_in_order_and_one_at_a_time(rig: SessionRig) -> None:
    await rig.opened()
    chunks = [rig.feed(first, 2) for first in (0, 2, 4)]
    await rig.settled()
    assert rig.handler.got == chunks
    assert rig.task.tracker.committable == 6
    await rig.task.close()


async def test_no_record_is_taken_before_recovery_is_done(rig: SessionRig) -> None:
    rig.may_open.clear()
    rig.task.start()
    await rig.settled()
    assert not rig.task.accepts_records
    assert rig.task.deliver([Read(0)], 1) is None
    rig.may_open.set()
    await rig.settled()
    assert rig.task.accepts_records
    await rig.task.close()


async def test_an_exception_acknowledges_nothing_and_is_reported(rig: SessionRig) -> None:
    await rig.opened()

    async def buggy(chunk: Chunk) -> None:
        raise RuntimeError("a bug")

    rig.handler.process = buggy  # type: ignore[method-assign]
    rig.feed(0, 3)
    await rig.settled()
    assert [str(failure) for failure in rig.failures] == ["a bug"]
    assert rig.task.tracker.committable is None
    assert not rig.task.accepts_records
    await rig.task.close()


async def test_a_partition_above_its_bound_is_paused_until_half_is_acknowledged(rig: SessionRig) -> None:
    rig.handler.keep = True
    await rig.opened()
    chunks = [rig.feed(first, 4) for first in (0, 4)]
    assert rig.task.accepts_records
    chunks.append(rig.feed(8, 4))
    assert not rig.task.accepts_records
    await rig.settled()
    chunks[2].acknowledge()
    assert not rig.task.accepts_records
    chunks[0].acknowledge()
    assert rig.task.accepts_records
    assert rig.task.tracker.committable == 4
    await rig.task.close()


async def test_an_idle_session_is_kept_over_a_rebalance(rig: SessionRig) -> None:
    await rig.opened()
    rig.feed(0, 2)
    await rig.settled()
    await rig.task.suspend()
    assert rig.task.is_suspended
    assert rig.handler.closed == 0
    rig.task.resume(ConsumerGroupMetadata(generation=2, member_id="m"))
    chunk = rig.feed(2, 2)
    await rig.settled()
    assert rig.handler.got[-1] is chunk
    await rig.task.close()
    assert rig.handler.closed == 1


async def test_a_chunk_that_takes_too_long_is_abandoned_before_the_handler_is_closed(rig: SessionRig) -> None:
    rig.handler.gate.clear()
    await rig.opened()
    rig.feed(0, 2)
    rig.feed(2, 2)
    await rig.settled()
    await rig.task.suspend()
    assert rig.handler.closed == 1
    assert rig.handler.got == []
    assert rig.task.tracker.committable is None
    assert not rig.task.is_suspended


async def test_a_chunk_that_is_finished_in_time_is_acknowledged_and_the_next_is_not_begun(rig: SessionRig) -> None:
    rig.handler.gate.clear()
    await rig.opened()
    first = rig.feed(0, 2)
    rig.feed(2, 2)
    await rig.settled()
    asyncio.get_running_loop().call_later(0.01, rig.handler.gate.set)
    await rig.task.suspend()
    assert rig.handler.got == [first]
    assert rig.task.tracker.committable == 2
    await rig.task.close()


async def test_effects_still_under_way_make_the_handler_close(rig: SessionRig) -> None:
    rig.handler.keep = True
    await rig.opened()
    rig.feed(0, 2)
    await rig.settled()
    await rig.task.suspend()
    assert rig.handler.closed == 1


async def test_a_recovery_under_way_is_given_up_when_the_partition_goes(rig: SessionRig) -> None:
    rig.may_open.clear()
    rig.task.start()
    await rig.settled()
    await rig.task.suspend()
    assert not rig.task.opened
    assert rig.handler.closed == 0


async def test_a_late_acknowledgement_changes_nothing(rig: SessionRig) -> None:
    rig.handler.keep = True
    await rig.opened()
    chunk = rig.feed(0, 2)
    await rig.settled()
    await rig.task.close()
    chunk.acknowledge()
    assert rig.task.tracker.committable is None


async def test_a_handler_that_does_not_let_go_is_reported_as_stuck(rig: SessionRig) -> None:
    rig.handler.stubborn = True
    rig.handler.gate.clear()
    await rig.opened()
    rig.feed(0, 2)
    await rig.settled()
    with pytest.raises(PartitionStuckError):
        await rig.task.close()


async def test_ownership_ends_with_the_session(rig: SessionRig) -> None:
    await rig.opened()
    assert rig.handler.ownership is not None
    assert not rig.handler.ownership.is_confirmed()
    rig.membership.heard = True
    assert rig.handler.ownership.is_confirmed()
    await rig.task.suspend()
    assert not rig.handler.ownership.is_confirmed()
    await rig.task.close()


async def test_a_session_waits_for_the_previous_one_of_its_partition(rig: SessionRig) -> None:
    ended = asyncio.Event()
    previous = asyncio.ensure_future(ended.wait())
    rig.task.start(after=[previous])
    await rig.settled()
    assert not rig.task.opened
    ended.set()
    await rig.settled()
    assert rig.task.opened
    await rig.task.close()


async def test_an_idle_partition_that_is_read_does_not_stall(rig: SessionRig) -> None:  # R41
    await rig.opened()
    for _ in range(100):
        rig.now += 30
        rig.read(0, end=0)
    assert rig.task.stalled is None
    rig.now += 61
    assert rig.task.stalled == "t:0: not read for 61 s"
    rig.read(0, end=0)
    assert rig.task.stalled is None
    await rig.task.close()


async def test_records_that_the_client_never_gives_are_a_reason(rig: SessionRig) -> None:  # R41
    await rig.opened()
    for _ in range(13):
        rig.now += 5
        rig.read(4, end=9)
    assert rig.task.stalled is None
    rig.now += 5
    rig.read(4, end=9)
    assert rig.task.stalled == "t:0: not read for 65 s"
    rig.read(9, end=9)
    assert rig.task.stalled is None
    await rig.task.close()


async def test_records_that_an_open_transaction_hides_are_a_reason_of_their_own(rig: SessionRig) -> None:  # R41
    await rig.opened()
    rig.feed(0, 4)
    await rig.settled()
    for _ in range(13):
        rig.now += 5
        rig.read(4, end=9, stable=4)
    assert rig.task.stalled == (
        "an open transaction on t/0 hides the records from offset 4 on, for 65 s: abort it (docs/runbooks.md)"
    )
    rig.read(9, end=9)
    assert rig.task.stalled is None
    await rig.task.close()


async def test_a_process_that_never_returns_stalls_its_partition_until_it_does(rig: SessionRig) -> None:  # R41
    rig.handler.gate.clear()
    await rig.opened()
    rig.now = 1_000
    rig.feed(0, 3)
    rig.feed(3, 4)
    await rig.settled()
    rig.now += 60
    rig.task.advance_to(7)
    assert rig.task.stalled is None
    rig.now += 1
    assert rig.task.stalled == "t:0: 7 records unacknowledged, no progress for 61 s"
    rig.handler.gate.set()
    await rig.settled()
    assert rig.task.stalled is None
    await rig.task.close()


async def test_what_comes_later_does_not_hide_a_chunk_that_is_never_acknowledged(rig: SessionRig) -> None:  # R41
    rig.handler.keep = True
    await rig.opened()
    forgotten = rig.feed(0, 2)
    for first in (2, 4, 6, 8):
        rig.now += 20
        rig.feed(first, 2).acknowledge()
        await rig.settled()
    assert rig.task.stalled == "t:0: 2 records unacknowledged, no progress for 80 s"
    forgotten.acknowledge()
    assert rig.task.stalled is None
    await rig.task.close()


async def test_a_chunk_that_beats_is_waited_for(rig: SessionRig) -> None:  # R41
    rig.handler.keep = True
    await rig.opened()
    oldest, newer = rig.feed(0, 2), rig.feed(2, 2)
    for _ in range(10):
        rig.now += 50
        oldest.beat()
    assert rig.task.stalled is None
    rig.now += 50
    newer.beat()
    rig.now += 50
    newer.beat()
    assert rig.task.stalled == "t:0: 4 records unacknowledged, no progress for 100 s"
    oldest.acknowledge()
    assert rig.task.stalled is None
    rig.now += 70
    newer.beat()
    assert rig.task.stalled is None
    await rig.task.close()


async def test_a_partition_that_recovers_long_is_not_said_to_stall(rig: SessionRig) -> None:
    rig.may_open.clear()
    rig.task.start()
    await rig.settled()
    rig.now += 1_000
    assert rig.task.stalled is None
    rig.may_open.set()
    await rig.settled()
    assert rig.task.stalled is None
    await rig.task.close()


async def test_a_rebalance_that_does_not_end_shows(rig: SessionRig) -> None:  # R41
    await rig.opened()
    await rig.task.suspend()
    rig.now += 61
    assert rig.task.stalled == "t:0: not read for 61 s"
    rig.task.resume(ConsumerGroupMetadata(generation=2, member_id="m"))
    assert rig.task.stalled is None
    await rig.task.close()
