"""Whether a consumer is a member of its group, and where it is not, whether that ends without a restart. Pure."""

from __future__ import annotations

from enum import Enum


class GroupState(Enum):
    NEW = "has not been a member yet"
    MEMBER = "is a member, with partitions or without"
    ASKING = "has asked the group, which answers once its other members have, or their time is up"
    NO_COORDINATOR = "looks for the group's coordinator"
    LEFT_OUT = "is no member any more, and asks for nothing although the broker answers"
    """The only one that does not end by itself."""


def group_state(*, was_member: bool, is_member: bool, asks: bool, coordinator_known: bool) -> GroupState:
    """`is_member`: the broker has confirmed it within the session timeout. `asks`: a request to the coordinator is
    under way: to join, to sync, or a heartbeat. `coordinator_known`: it was found and could be connected to."""
    if is_member:
        return GroupState.MEMBER
    if asks:
        return GroupState.ASKING
    if not coordinator_known:
        return GroupState.NO_COORDINATOR
    return GroupState.LEFT_OUT if was_member else GroupState.NEW
