"""Where the delivery of one target of one address is, in this process (client-go: the dirty and processing sets).

What outlives the process (in doubt, backing off) is in the target's row; a quarantined target holds its pushes in the
index. A push that is not held in memory is idle.

| state               | changed             | started   | dropped | ended  |
|---------------------|---------------------|-----------|---------|--------|
| idle                | queued              | -         | -       | -      |
| queued              | queued              | in flight | idle    | -      |
| in flight           | in flight and dirty | -         | -       | idle   |
| in flight and dirty | in flight and dirty | -         | -       | queued |

`changed`: the states may differ, so the push is to be looked at. `started`: it is in a call. `dropped`: nothing is to
be delivered, or it waits in the index. `ended`: its call has ended, with or without an answer. So one target of one
address is never in two calls, and a change during a call is looked at when the call has ended.
"""

from __future__ import annotations

from enum import Enum

from propagator.errors import InvalidTransitionError


class DeliveryState(Enum):
    """See the table of the module."""

    IDLE = "idle"
    QUEUED = "queued"
    IN_FLIGHT = "in flight"
    IN_FLIGHT_DIRTY = "in flight and dirty"


class DeliveryEvent(Enum):
    """See the table of the module."""

    CHANGED = "changed"
    STARTED = "started"
    DROPPED = "dropped"
    ENDED = "ended"


_TABLE = {
    (DeliveryState.IDLE, DeliveryEvent.CHANGED): DeliveryState.QUEUED,
    (DeliveryState.QUEUED, DeliveryEvent.CHANGED): DeliveryState.QUEUED,
    (DeliveryState.QUEUED, DeliveryEvent.STARTED): DeliveryState.IN_FLIGHT,
    (DeliveryState.QUEUED, DeliveryEvent.DROPPED): DeliveryState.IDLE,
    (DeliveryState.IN_FLIGHT, DeliveryEvent.CHANGED): DeliveryState.IN_FLIGHT_DIRTY,
    (DeliveryState.IN_FLIGHT, DeliveryEvent.ENDED): DeliveryState.IDLE,
    (DeliveryState.IN_FLIGHT_DIRTY, DeliveryEvent.CHANGED): DeliveryState.IN_FLIGHT_DIRTY,
    (DeliveryState.IN_FLIGHT_DIRTY, DeliveryEvent.ENDED): DeliveryState.QUEUED,
}


def transition(state: DeliveryState, event: DeliveryEvent) -> DeliveryState:
    """The next state. Raises InvalidTransitionError for what is not in the table."""
    following = _TABLE.get((state, event))
    if following is None:
        raise InvalidTransitionError(state.value, event.value)
    return following
