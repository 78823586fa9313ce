"""A push that this process holds in memory: queued or in a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from propagator.desired.model import Action
from propagator.sending.delivery_state import DeliveryEvent, DeliveryState, transition
from propagator.sending.ports import PendingPush

UNLIMITED = 1_000_000


class PushKey(NamedTuple):
    """What is never in two calls at once."""

    address_key: str
    target: str


@dataclass(kw_only=True, slots=True, eq=False)
class QueuedPush:
    """Mutable, and used by one event loop: what is remembered of a push is about its attempts in this process alone.

    What is to be delivered is not here: it is read from the state when the push is put into a call.
    """

    row: PendingPush
    sequence: int
    queued_at: int
    """Micros: when this process found that the destination differs."""
    state: DeliveryState = DeliveryState.IDLE
    due_at: float | None = None
    """Queued, and to be looked at only at this time of the loop's clock; None: at once."""
    attempts: int = 0
    """Calls made so far."""
    answers_seen: int = 0
    """The calls that the destination had answered when this push was queued, or last failed."""
    max_batch: int = UNLIMITED
    """The most pushes it may share a call with after it was in one that failed."""
    outage: int = 0
    """The outages that had ended when `max_batch` was set: in an outage every call fails, which proves nothing."""
    alone: bool = False
    """It failed by itself more than once: it shares no call."""
    unfilled: bool = False
    """It was in a call with pushes of the other class that failed: its next call holds none of them."""
    refused_together: bool = False
    """It was in a call of which the provider refused every push, which ends none of them."""
    waits_for_permission: bool = False
    queued_receipt: bool = False

    @property
    def key(self) -> PushKey:
        return PushKey(self.row.address_key, self.row.target)

    @property
    def action(self) -> Action:
        return self.row.action

    @property
    def live(self) -> bool:
        return self.row.live

    @property
    def in_flight(self) -> bool:
        return self.state in (DeliveryState.IN_FLIGHT, DeliveryState.IN_FLIGHT_DIRTY)

    def settled(self) -> None:
        """The destination has answered: nothing of the attempts so far matters for what may follow."""
        self.attempts = 0
        self.max_batch = UNLIMITED
        self.alone = self.unfilled = self.refused_together = self.queued_receipt = False

    def apply(self, event: DeliveryEvent) -> DeliveryState:
        self.state = transition(self.state, event)
        return self.state

    def batch_limit(self, size: int, outages: int) -> int:
        """How many pushes its next call may hold; `outages`: that have ended so far."""
        if self.alone or self.refused_together:
            return 1
        return min(size, self.max_batch) if self.outage == outages else size
