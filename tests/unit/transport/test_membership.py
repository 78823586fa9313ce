"""Ownership is what the broker confirmed, counted from when we asked."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest

from consent_kafka.errors import DuplicateInstanceIdError
from consent_kafka.group_state import GroupState
from consent_kafka.instance_watch import Holder, InstanceWatch
from consent_kafka.transport.membership import ConsumerGroupMetadata, Membership

HEARTBEAT = HeartbeatRequest("group", 3, "member")
COMMIT = OffsetCommitRequest("group", 3, "member", -1, [])
JOIN = JoinGroupRequest("group", 6_000, 6_000, "", "worker-1", "consumer", [])
FENCED_INSTANCE_ID = 82


class Broker:
    """Answers the coordinator's requests; `takes` seconds pass while it does."""

    def __init__(self, *, static: bool = True) -> None:
        self.now = 100.0
        self.error_code = 0
        self.takes = 0.0
        self.member_id = "member"
        self.coordinator_id: int | None = 1
        self.holder: Holder | None = Holder(member_id="worker-1-other")
        watch = InstanceWatch(instance_id="worker-1", session_timeout=6.0, look=self.look, clock=lambda: self.now)
        self.membership = Membership(session_timeout=6.0, instance=watch if static else None, clock=lambda: self.now)
        self._closing: asyncio.Future[None] | None = None
        self._send_req = self.answer
        self.membership.watch(self)

    def look(self) -> Holder | None:
        self.now += 10.0
        return self.holder

    async def answer(self, request: object) -> SimpleNamespace:
        self.now += self.takes
        if isinstance(request, OffsetCommitRequest):
            return SimpleNamespace(topics=[("topic", [(0, 0), (1, self.error_code)])])
        return SimpleNamespace(error_code=self.error_code)

    async def join(self) -> None:
        """As a new member."""
        self._closing = asyncio.get_running_loop().create_future()
        self.error_code = 0
        await self._send_req(JOIN)
        self.member_id += "'"

    def stop(self) -> None:
        assert self._closing is not None
        self._closing.set_result(None)

    async def lose(self, request: object = HEARTBEAT, error_code: int = UnknownMemberIdError.errno) -> int:
        """The session is alive, and then the broker no longer knows the member; the answer that aiokafka gets."""
        self.error_code = 0
        await self._send_req(HEARTBEAT)
        self.now += 1.0
        self.error_code = error_code
        answer = await self._send_req(request)
        return answer.error_code if hasattr(answer, "error_code") else 0


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_nothing_is_confirmed_before_the_broker_has_answered(broker: Broker) -> None:
    assert not broker.membership.confirmed()


async def test_a_heartbeat_confirms_for_one_session_timeout(broker: Broker) -> None:
    await broker._send_req(HEARTBEAT)
    broker.now += 5.9
    assert broker.membership.confirmed()
    broker.now += 0.2
    assert not broker.membership.confirmed()


async def test_the_time_counts_from_when_the_heartbeat_was_sent(broker: Broker) -> None:
    """A process frozen between sending and hearing must not think its session has just begun."""
    broker.takes = 7.0
    await broker._send_req(HEARTBEAT)
    assert not broker.membership.confirmed()


async def test_a_rebalance_does_not_prolong_what_was_confirmed(broker: Broker) -> None:
    await broker._send_req(HEARTBEAT)
    broker.error_code = RebalanceInProgressError.errno
    for _ in range(4):
        broker.now += 2.0
        await broker._send_req(HEARTBEAT)
    assert not broker.membership.confirmed()


async def test_being_unknown_ends_it_at_once(broker: Broker) -> None:
    await broker._send_req(HEARTBEAT)
    broker.error_code = IllegalGenerationError.errno
    await broker._send_req(HEARTBEAT)
    assert not broker.membership.confirmed()


@pytest.mark.parametrize("request_", [HEARTBEAT, COMMIT])
async def test_who_is_unknown_within_its_session_joins_again_at_once(broker: Broker, request_: object) -> None:
    await broker.lose(request_)
    assert not broker.membership.confirmed()
    await broker.join()
    assert broker.now < 110.0, "it did not look at the group"


async def test_that_the_broker_has_another_member_means_that_this_one_is_unknown(broker: Broker) -> None:
    assert await broker.lose(JOIN, FENCED_INSTANCE_ID) == UnknownMemberIdError.errno


async def test_one_that_is_replaced_again_and_again_joins_while_no_other_member_is_there(  # R43
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_kafka.transport.membership.WATCH_SECONDS", 0.0)
    broker.holder = Holder(member_id=None)
    for _ in range(4):
        await broker.lose()
        await broker.join()
    assert broker.membership.waiting is None


async def test_one_whose_name_another_process_keeps_does_not_join(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_kafka.transport.membership.WATCH_SECONDS", 0.0)
    await broker.lose()
    await broker.join()
    await broker.lose()
    assert broker.membership.waiting == "waits to see whether another process runs as worker-1"
    with pytest.raises(DuplicateInstanceIdError, match="worker-1-other"):
        await broker.join()


async def test_heartbeat_and_commit_that_fail_for_the_same_reason_count_once(broker: Broker) -> None:
    await broker.lose()
    await broker._send_req(COMMIT)
    assert broker.membership.waiting is None


async def test_an_answer_to_the_member_of_before_changes_nothing(broker: Broker) -> None:
    await broker._send_req(HEARTBEAT)
    broker.error_code = UnknownMemberIdError.errno
    answer = broker.answer

    async def late(request: object) -> SimpleNamespace:
        broker.member_id = "joined meanwhile"
        return await answer(request)

    broker._send_req = late
    broker.membership.watch(broker)
    await broker._send_req(HEARTBEAT)
    assert broker.membership.confirmed()


async def test_a_dynamic_member_that_is_unknown_joins_again() -> None:
    broker = Broker(static=False)
    for _ in range(3):
        await broker.lose()
        assert not broker.membership.confirmed()
        await broker.join()
    assert broker.membership.waiting is None


async def test_unknown_after_the_session_is_a_plain_eviction(broker: Broker) -> None:
    """A process that was frozen, or a machine that slept."""
    for _ in range(3):
        await broker._send_req(HEARTBEAT)
        broker.now += 7.0
        broker.error_code = UnknownMemberIdError.errno
        await broker._send_req(HEARTBEAT)
        assert not broker.membership.confirmed()
        await broker.join()
    assert broker.membership.waiting is None


async def test_a_member_that_is_removed_and_asks_for_nothing_is_left_out(broker: Broker) -> None:  # R41
    assert broker.membership.observe() is GroupState.NEW
    await broker.lose()
    broker.membership.observe()
    assert broker.membership.observe() is GroupState.LEFT_OUT
    await broker.join()
    await broker._send_req(HEARTBEAT)
    assert broker.membership.observe() is GroupState.MEMBER


async def test_a_member_whose_session_ends_without_a_word_of_the_broker_is_left_out(broker: Broker) -> None:  # R41
    """The client has stopped its heartbeats, as aiokafka does where it takes the process for idle."""
    await broker._send_req(HEARTBEAT)
    broker.membership.observe()
    broker.now += 6.1
    assert broker.membership.observe() is GroupState.LEFT_OUT


async def test_one_that_waits_for_the_groups_answer_is_not_left_out(broker: Broker) -> None:  # R41
    await broker.lose()
    answered = asyncio.get_running_loop().create_future()
    answer = broker.answer

    async def late(request: object) -> SimpleNamespace:
        await answered
        return await answer(request)

    broker._send_req = late
    broker.membership.watch(broker)
    joining = asyncio.create_task(broker._send_req(JOIN))
    for _ in range(3):
        await asyncio.sleep(0)
        broker.now += 60.0
        assert broker.membership.observe() is GroupState.ASKING
    answered.set_result(None)
    await joining


async def test_one_that_is_refused_and_asks_again_is_not_left_out(broker: Broker) -> None:  # R41
    """As by a broker that still loads the group. A look may fall between two requests."""
    await broker.lose()
    for _ in range(3):
        broker.now += 10.0
        broker.error_code = GroupLoadInProgressError.errno
        await broker._send_req(JOIN)
        assert broker.membership.observe() is GroupState.ASKING


async def test_one_whose_broker_does_not_answer_is_not_left_out(broker: Broker) -> None:  # R41
    await broker._send_req(HEARTBEAT)
    broker.membership.observe()
    broker.coordinator_id = None
    broker.now += 600.0
    assert broker.membership.observe() is GroupState.NO_COORDINATOR
    broker.coordinator_id = 1
    assert broker.membership.observe() is GroupState.LEFT_OUT


async def test_an_attempt_to_commit_is_no_attempt_to_come_back(broker: Broker) -> None:  # R41
    await broker.lose()
    broker.membership.observe()
    await broker._send_req(COMMIT)
    assert broker.membership.observe() is GroupState.LEFT_OUT


async def test_one_that_looks_whether_another_process_has_its_name_is_not_left_out(  # R41
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_kafka.transport.membership.WATCH_SECONDS", 0.0)
    broker.holder = None  # No answer: it goes on looking.
    await broker.lose()
    await broker.join()
    await broker.lose()
    joining = asyncio.create_task(broker.join())
    for _ in range(3):
        await asyncio.sleep(0.01)
        assert broker.membership.observe() is GroupState.ASKING
    broker.stop()
    with pytest.raises(GroupCoordinatorNotAvailableError):
        await joining


def test_a_lease_continues_only_without_a_generation_in_between() -> None:
    held = ConsumerGroupMetadata(generation=4, member_id="a")
    assert ConsumerGroupMetadata(generation=5, member_id="a").continues(held)
    assert ConsumerGroupMetadata(generation=4, member_id="a").continues(held)
    assert not ConsumerGroupMetadata(generation=6, member_id="a").continues(held)
    assert not ConsumerGroupMetadata(generation=5, member_id="b").continues(held)
