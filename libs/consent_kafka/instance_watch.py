"""Distinguishes a second process with our static instance id from a join of our own whose answer was lost.

A broker reports both alike: another member id is registered under the instance id. That happens to a process that is
alone when the broker was killed, or was cut off for longer than a session: the client joins again, the answer is lost,
and its next request still has the old member id (librdkafka #3437). The group's description does not distinguish them
either, since a broker keeps the client id and the host of the first member. Time does: a member without a process sends
no heartbeats and is removed after its session, while a second process keeps its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FuturesTimeout
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException

from consent_kafka import clients
from consent_kafka.errors import DuplicateInstanceIdError

REPLACED_AGAIN_SECONDS = 60.0
"""One that is replaced twice within so long has to wait and see before it joins a third time."""

WATCH_SECONDS = 1.0
"""Between two looks at the group."""

_REQUEST_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Which member is registered under our instance id; None for none. `stable`: no rebalance is under way, which would
    spare a member that sends no heartbeats."""

    member_id: str | None
    stable: bool = True


class InstanceWatch:
    """Of one member of one group. Used by one thread at a time."""

    def __init__(
        self,
        *,
        instance_id: str,
        session_timeout: float,
        look: Callable[[], Holder | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look` asks the group's coordinator and may block; None: no answer. Times in seconds."""
        self._instance_id = instance_id
        # A coordinator that has just been started gives every member a session from then on.
        self._alive_after = 2 * session_timeout + 2 * WATCH_SECONDS
        self._look = look
        self._clock = clock
        self._replaced_at: float | None = None
        self._waiting = False
        self._held_since: float | None = None

    @property
    def waiting(self) -> str | None:
        """What the health page states while `may_join` has to be asked."""
        return f"waits to see whether another process runs as {self._instance_id}" if self._waiting else None

    def replaced(self) -> None:
        """The broker has another member id under our instance id than ours."""
        now = self._clock()
        self._waiting = self._replaced_at is not None and now - self._replaced_at < REPLACED_AGAIN_SECONDS
        self._replaced_at, self._held_since = now, None

    def may_join(self) -> bool:
        """Whether to join (again) now. Where it is to wait, a look at the group; while False, ask again each second,
        and send the group nothing. Raises DuplicateInstanceIdError."""
        if self._waiting:
            holder = self._look()
            now = self._clock()
            if holder is None or not holder.stable:
                self._held_since = None
            elif holder.member_id is None:
                self._waiting = False
            elif self._held_since is None:
                self._held_since = now
            elif now - self._held_since > self._alive_after:
                raise DuplicateInstanceIdError(
                    f"another process runs as {self._instance_id}: member {holder.member_id} is still there"
                    f" {now - self._held_since:.0f} s after this one has left"
                )
        return not self._waiting


def find_holder(
    bootstrap: str, group: str, instance_id: str, client_config: Mapping[str, Any] | None = None
) -> Holder | None:
    """Ask the group's coordinator; None: no answer. Blocks for some seconds at most."""
    # A new client each time: one that has lost the coordinator does not find back to it (librdkafka 2.16).
    try:
        with clients.admin(bootstrap, {"log_level": 2, **(client_config or {})}) as admin:
            asked = admin.describe_consumer_groups([group], request_timeout=_REQUEST_SECONDS)
            found = asked[group].result(timeout=2 * _REQUEST_SECONDS)
    except (KafkaException, FuturesTimeout) as error:
        unknown = isinstance(error, KafkaException) and error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND
        return Holder(member_id=None) if unknown else None
    held = [each.member_id for each in found.members if each.group_instance_id == instance_id]
    stable = found.state in (ConsumerGroupState.STABLE, ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
    return Holder(member_id=held[0] if held else None, stable=stable)
