"""What this process knows of its place in the consumer group, and how recently the broker confirmed it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import IllegalGenerationError, UnknownMemberIdError
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

_LOST = frozenset({UnknownMemberIdError.errno, IllegalGenerationError.errno})


class InstanceTaken(Exception):
    """Another process joined the group under our static instance id while our session was alive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Under which member id and generation partitions were assigned."""

    generation: int
    member_id: str

    def continues(self, earlier: Lease) -> bool:
        """Nobody can have owned a partition between these two, if both hold it."""
        return self.member_id == earlier.member_id and self.generation - earlier.generation in (0, 1)


class Membership:
    """Written by the consumer's thread, read from any.

    Confirmed means: the broker answered a request of ours without an error, counted from the moment it was
    SENT, so the broker's own timer started later than ours. A heartbeat answered "rebalancing" does not
    count, because it would go on being answered so after we were left out of the rebalance.
    """

    def __init__(self, *, session_timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._session_timeout = session_timeout
        self._clock = clock
        self._confirmed_at: float | None = None

    def confirmed(self) -> bool:
        """The session cannot have timed out yet. CLOCK_MONOTONIC runs on while a process is frozen."""
        at = self._confirmed_at
        return at is not None and self._clock() - at < self._session_timeout

    def watch(self, coordinator: Any) -> None:
        """Follow the requests of aiokafka's coordinator, and stop it with InstanceTaken when our place is not ours."""
        send = coordinator._send_req

        async def watched(request: Any) -> Any:
            sent_at = self._clock()
            response = await send(request)
            if isinstance(request, HeartbeatRequest | SyncGroupRequest):
                if response.error_code == 0:
                    self._confirmed_at = sent_at
                elif response.error_code in _LOST:
                    in_session, self._confirmed_at = self.confirmed(), None
                    # A static member that is alive and unknown was replaced by name. aiokafka would rejoin and
                    # throw the other one out, which would rejoin in turn, for ever. This error, being none of
                    # Kafka's, stops it instead, and comes out of the next fetch.
                    # A dynamic member simply joins again.
                    replaced = in_session and response.error_code == UnknownMemberIdError.errno
                    if replaced and coordinator._group_instance_id is not None:
                        raise InstanceTaken(f"another process joined as {coordinator._group_instance_id}")
            return response

        coordinator._send_req = watched
