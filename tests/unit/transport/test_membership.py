"""Ownership is what the broker confirmed, counted from when we asked."""

from types import SimpleNamespace

import pytest
from aiokafka.errors import IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.protocol.group import HeartbeatRequest

from consent_runtime.transport.membership import InstanceTaken, Lease, Membership

HEARTBEAT = HeartbeatRequest("group", 3, "member")


class Broker:
    """Answers the coordinator's requests; `takes` seconds pass while it does."""

    def __init__(self) -> None:
        self.now = 100.0
        self.error_code = 0
        self.takes = 0.0
        self.membership = Membership(session_timeout=6.0, clock=lambda: self.now)
        self._group_instance_id: str | None = "worker-1"
        self._send_req = self.answer
        self.membership.watch(self)

    async def answer(self, request: object) -> SimpleNamespace:
        self.now += self.takes
        return SimpleNamespace(error_code=self.error_code)


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


async def test_unknown_within_the_session_means_that_another_has_our_name(broker: Broker) -> None:
    await broker._send_req(HEARTBEAT)
    broker.error_code = UnknownMemberIdError.errno
    broker.now += 1.0
    with pytest.raises(InstanceTaken, match="worker-1"):
        await broker._send_req(HEARTBEAT)


async def test_a_dynamic_member_that_is_unknown_joins_again(broker: Broker) -> None:
    broker._group_instance_id = None
    await broker._send_req(HEARTBEAT)
    broker.error_code = UnknownMemberIdError.errno
    broker.now += 1.0
    await broker._send_req(HEARTBEAT)
    assert not broker.membership.confirmed()


async def test_unknown_after_the_session_is_a_plain_eviction(broker: Broker) -> None:
    await broker._send_req(HEARTBEAT)
    broker.error_code = UnknownMemberIdError.errno
    broker.now += 7.0
    await broker._send_req(HEARTBEAT)
    assert not broker.membership.confirmed()


def test_a_lease_continues_only_without_a_generation_in_between() -> None:
    held = Lease(generation=4, member_id="a")
    assert Lease(generation=5, member_id="a").continues(held)
    assert Lease(generation=4, member_id="a").continues(held)
    assert not Lease(generation=6, member_id="a").continues(held)
    assert not Lease(generation=5, member_id="b").continues(held)
