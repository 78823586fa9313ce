"""How a stream meets the broker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consent_kafka.transport.timing import (
    CLOSE_SECONDS,
    DRAIN_SECONDS,
    MAX_POLL_SECONDS,
    SESSION_SECONDS,
    STOP_SECONDS,
    longest_stop,
)
from consent_service.stall_timer import STALLED_SECONDS

DYNAMIC_HEARTBEAT_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Times in seconds, sizes in records."""

    bootstrap: str
    instance_id: str
    client_config: Mapping[str, Any] = field(default_factory=dict, repr=False)  # It holds a password.
    session_timeout: float = SESSION_SECONDS
    commit_interval: float = 0.5
    max_poll_interval: float = MAX_POLL_SECONDS
    max_chunk: int = 1_000
    max_outstanding: int = 5_000
    drain_timeout: float = DRAIN_SECONDS
    close_timeout: float = CLOSE_SECONDS
    stalled_after: float = STALLED_SECONDS
    static: bool = True
    """A static member keeps its partitions over a restart within the session timeout. A dynamic one leaves the group
    when it stops, so that another member has them at once."""

    def __post_init__(self) -> None:
        if not 6.0 <= self.session_timeout <= 10.0:
            raise ValueError(
                "a session timeout of 6 to 10 s: below, a busy machine loses partitions; above, a dead one keeps them"
            )
        if longest_stop(drain=self.drain_timeout, close=self.close_timeout) >= STOP_SECONDS:
            raise ValueError(
                f"a handler must let go of its partition within {STOP_SECONDS:.0f} s, or the process ends without it"
            )

    @property
    def heartbeat_interval(self) -> float:
        """A dynamic member learns of each rebalance by its heartbeat, and a takeover waits for that."""
        return self.session_timeout / 5 if self.static else DYNAMIC_HEARTBEAT_SECONDS

    @property
    def rebalance_timeout(self) -> float:
        """How long the group waits for a member that does not answer when another joins."""
        return 60.0 if self.static else self.session_timeout
