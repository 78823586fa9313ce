"""What this process knows of its place in the consumer group, and how recently the broker confirmed it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import GroupCoordinatorNotAvailableError, IllegalGenerationError, UnknownMemberIdError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from consent_kafka.group_state import GroupState, group_state
from consent_kafka.instance_watch import WATCH_SECONDS, InstanceWatch
from consent_service.clock import elapsed_seconds

_FENCED_INSTANCE_ID = 82
"""aiokafka 0.14 does not know it, and takes it for the end."""
_OF_THE_GROUP = (HeartbeatRequest, JoinGroupRequest, SyncGroupRequest)
_LOST = frozenset({UnknownMemberIdError.errno, IllegalGenerationError.errno, _FENCED_INSTANCE_ID})


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsumerGroupMetadata:
    """Under which member id and generation partitions were assigned."""

    generation: int
    member_id: str

    def continues(self, earlier: ConsumerGroupMetadata) -> bool:
        """Whether no other member can have owned a partition between these two, if both hold it."""
        return self.member_id == earlier.member_id and self.generation - earlier.generation in (0, 1)


class Membership:
    """Written by the consumer's thread, read from any.

    Confirmed means: the broker answered a request of ours without an error, counted from the moment it was
    SENT, so the broker's own timer started later than ours. A heartbeat answered "rebalancing" does not
    count, because it would go on being answered so after we were left out of the rebalance.
    """

    def __init__(
        self,
        *,
        session_timeout: float,
        instance: InstanceWatch | None = None,
        clock: Callable[[], float] = elapsed_seconds,
    ) -> None:
        """`instance` watches for others under our static instance id; None: the member is dynamic."""
        self._session_timeout = session_timeout
        self._instance = instance
        self._clock = clock
        self._confirmed_at: float | None = None
        self._replaced_member_id = ""
        self._coordinator: Any = None
        self._was_member = False
        self._under_way = 0
        self._asked = False

    def confirmed(self) -> bool:
        """The session cannot have timed out yet."""
        at = self._confirmed_at
        return at is not None and self._clock() - at < self._session_timeout

    def observe(self) -> GroupState:
        """Of this moment; a request that has come and gone since the last call counts as under way."""
        asked, self._asked = self._asked, False
        return group_state(
            was_member=self._was_member,
            is_member=self.confirmed(),
            asks=asked or self._under_way > 0,
            coordinator_known=self._coordinator is not None and self._coordinator.coordinator_id is not None,
        )

    @property
    def waiting(self) -> str | None:
        """Why the group is not joined again, for the health page."""
        return self._instance.waiting if self._instance is not None else None

    def watch(self, coordinator: Any) -> None:
        """Follow the requests of aiokafka's coordinator. A static member that is answered twice within a minute that
        it is unknown joins again only once no other member has its instance id; where one keeps it, its next join
        raises DuplicateInstanceIdError, which ends the coordinator."""
        self._coordinator = coordinator
        send = coordinator._send_req

        async def watched(request: Any) -> Any:
            if not isinstance(request, _OF_THE_GROUP):
                return await self._follow(request, send)
            self._under_way += 1
            try:
                return await self._follow(request, send)
            finally:
                self._under_way -= 1
                self._asked = True

        coordinator._send_req = watched

    async def _follow(self, request: Any, send: Callable[[Any], Awaitable[Any]]) -> Any:
        coordinator = self._coordinator
        if isinstance(request, JoinGroupRequest):
            await self._wait_to_join(coordinator._closing)
        asked_as, sent_at = coordinator.member_id, self._clock()
        response = await send(request)
        codes = _error_codes(request, response)
        if codes & _LOST and coordinator.member_id == asked_as:
            in_session, self._confirmed_at = self.confirmed(), None
            if _FENCED_INSTANCE_ID in codes:
                response.error_code = UnknownMemberIdError.errno  # So that aiokafka joins under a new member id.
            if _FENCED_INSTANCE_ID in codes or (in_session and UnknownMemberIdError.errno in codes):
                self._replaced(asked_as)
        elif isinstance(request, HeartbeatRequest | SyncGroupRequest) and codes == {0}:
            self._confirmed_at, self._was_member = sent_at, True
        return response

    async def _wait_to_join(self, closing: asyncio.Future[None]) -> None:
        while self.waiting and self._instance is not None:
            await asyncio.to_thread(self._instance.may_join)
            await asyncio.wait({closing}, timeout=WATCH_SECONDS)
            if closing.done():
                raise GroupCoordinatorNotAvailableError("stopped while waiting to join")

    def _replaced(self, member_id: str) -> None:
        """The broker no longer knows this id although its session was alive: our name has another one there."""
        if self._instance is not None and member_id and member_id != self._replaced_member_id:
            self._replaced_member_id = member_id
            self._instance.replaced()


def _error_codes(request: Any, response: Any) -> set[int]:
    """Of an answer by which a member learns that it is none."""
    if isinstance(request, OffsetCommitRequest):
        return {code for _, partitions in response.topics for _, code in partitions}
    if isinstance(request, _OF_THE_GROUP):
        return {response.error_code}
    return set()
