"""How far the ledger is in a partition of the list, and what was lost on the way to it. Pure.

The relay states in `ConsentResolved` records how far each lane of the ledger has been carried into the partition of its
changes topic. Once everything at lower offsets is committed, the merge passes that on as `ListResolved`. What Kafka has
lost it cannot state: such a partition has a hole (docs/decisions/0018-resolved-timestamps.md), and passes on the hole's
id instead of timestamps until the relay has published the ledger's decisions again.

Times are microseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from consent_state import Position
from suppression.merge.lanes import Lane

NewId = Callable[[], str]


class ResolvedMark(NamedTuple):
    """A ConsentResolved record."""

    resolved_at: int
    inbound_resolved_at: int | None
    loss: int
    repaired: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the broker reports of this partition, by topic: topic id, lowest offset held, high watermark."""

    ids: Mapping[str, str]
    lows: Mapping[str, int]
    ends: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class ListTopics:
    """The topics of the merge: the changes topic of each lane, and the channel of each suppression topic."""

    inputs: Mapping[Lane, str]
    channels: Mapping[str, str]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.inputs.values(), *self.channels)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListState:
    """How far one partition is. `inputs` are the offsets to merge next, `lists` those after the last entry written."""

    inputs: Mapping[str, Position]
    lists: Mapping[str, Position]
    list_starts: Mapping[str, int] = field(default_factory=dict)
    """The lowest offset that each list held when it was taken up. Compaction does not raise it: a higher one later
    shows that entries were deleted, as by a retention that an operator has set."""
    resolved_at: Mapping[Lane, int] = field(default_factory=dict)
    inbound_resolved_at: Mapping[Lane, int] = field(default_factory=dict)
    loss: Mapping[Lane, int] = field(default_factory=dict)
    """How often the relay has seen Kafka lose records of the lane's changes topic; it counts each topic by itself."""
    hole: str | None = None
    channel_holes: Mapping[str, str] = field(default_factory=dict)


class Beginning(NamedTuple):
    """Where to begin, and for each loss that was found a sentence for the log.

    `lists_lost`: a list may lack entries that a local copy of it still holds.
    """

    state: ListState
    losses: list[str]
    lists_lost: bool


def begin(recorded: ListState | None, facts: Facts, topics: ListTopics, new_id: NewId) -> Beginning:
    """The state of a partition that is opened, from what was `recorded` of it last (None: nothing is known).

    Reading goes on at the recorded positions, whatever the consumer group has committed: all that lies lower is in the
    list. An input whose position does not fit is merged again from the lowest offset that it holds. A loss that is
    found gives a new id, also where a hole is open: a repair that has begun earlier may have missed it.
    """
    known = recorded or ListState(inputs={}, lists={})
    lost_inputs = {
        topic: reason for topic in topics.inputs.values() if (reason := _misfit_of_input(known, topic, facts))
    }
    lost_lists = {topic: reason for topic in topics.channels if (reason := _misfit_of_list(known, topic, facts))}
    state = replace(
        known,
        inputs={
            topic: Position(facts.ids[topic], facts.lows[topic]) if topic in lost_inputs else known.inputs[topic]
            for topic in topics.inputs.values()
        },
        lists={topic: Position(facts.ids[topic], facts.ends[topic]) for topic in topics.channels},
        list_starts={topic: facts.lows[topic] for topic in topics.channels},
        channel_holes={
            channel: hole for channel, hole in known.channel_holes.items() if channel in topics.channels.values()
        },
    )
    if lost_inputs:
        losses = [*lost_inputs.values(), *lost_lists.values()]
        return Beginning(_with_hole(state, new_id), losses, bool(lost_lists))
    opened = {topics.channels[topic]: new_id() for topic in lost_lists}
    state = replace(state, channel_holes={**state.channel_holes, **opened})
    return Beginning(state, [*lost_lists.values()], bool(lost_lists))


def advance(
    state: ListState,
    *,
    lane: Lane,
    topic: str,
    offset: int,
    marks: Iterable[ResolvedMark],
    ends: Mapping[str, int],
    new_id: NewId,
) -> ListState:
    """The state once everything of `topic` below `offset` is committed, `marks` among it, in their order.

    `ends` are the offsets after the last entries written. The last mark of a lane counts, not the highest: after the
    ledger's clock has been set back, an earlier and higher time is no longer true.
    """
    state = replace(
        state,
        inputs={**state.inputs, topic: Position(state.inputs[topic].topic_id, offset)},
        lists={at: Position(list_.topic_id, ends.get(at, list_.offset)) for at, list_ in state.lists.items()},
    )
    for mark in marks:
        state = _marked(state, lane, mark, new_id)
    return state


def find_misfit(before: ListState, now: ListState, facts: Facts) -> str | None:
    """Why a running partition does not fit its topics any more; None while it does.

    `before` is its state when the facts were asked for, `now` the present one: its offsets may be higher than the ends
    reported, and records that were deleted since they were merged are no loss.
    """
    reasons = (
        *(_misfit(topic, before.inputs[topic], now.inputs[topic].offset, facts) for topic in before.inputs),
        *(_misfit_of_list(before, topic, facts) for topic in before.lists),
    )
    return next(filter(None, reasons), None)


def to_datum(state: ListState, topics: ListTopics, partition: int, now: int) -> dict[str, Any]:
    """The ListResolved record."""
    whole = state.hole is None
    return {
        "partition": partition,
        "resolved_at": state.resolved_at.get(Lane.LIVE) if whole else None,
        "bulk_resolved_at": state.resolved_at.get(Lane.BULK) if whole else None,
        "inbound_resolved_at": state.inbound_resolved_at.get(Lane.LIVE) if whole else None,
        "loss": sum(state.loss.values()),
        "bulk_loss": state.loss.get(Lane.BULK, 0),
        "lists": [
            {
                "topic": topic,
                "topic_id": state.lists[topic].topic_id,
                "start_offset": state.list_starts[topic],
                "end_offset": state.lists[topic].offset,
            }
            for topic in topics.channels
        ],
        "inputs": [
            {"topic": topic, "topic_id": state.inputs[topic].topic_id, "offset": state.inputs[topic].offset}
            for topic in topics.inputs.values()
        ],
        "hole": state.hole,
        "channel_holes": dict(state.channel_holes),
        "written_at": now,
    }


def from_datum(datum: Mapping[str, Any]) -> ListState:
    """What a ListResolved record holds."""
    resolved_at = {Lane.LIVE: datum["resolved_at"], Lane.BULK: datum["bulk_resolved_at"]}
    inbound = datum["inbound_resolved_at"]
    return ListState(
        inputs={each["topic"]: Position(each["topic_id"], each["offset"]) for each in datum["inputs"]},
        lists={each["topic"]: Position(each["topic_id"], each["end_offset"]) for each in datum["lists"]},
        list_starts={each["topic"]: each["start_offset"] for each in datum["lists"]},
        resolved_at={lane: at for lane, at in resolved_at.items() if at is not None},
        inbound_resolved_at={} if inbound is None else {Lane.LIVE: inbound},
        loss={Lane.LIVE: datum["loss"] - datum["bulk_loss"], Lane.BULK: datum["bulk_loss"]},
        hole=datum["hole"],
        channel_holes=datum["channel_holes"],
    )


def _marked(state: ListState, lane: Lane, mark: ResolvedMark, new_id: NewId) -> ListState:
    inbound = {other: at for other, at in state.inbound_resolved_at.items() if other is not lane}
    if mark.inbound_resolved_at is not None:
        inbound[lane] = mark.inbound_resolved_at
    state = replace(state, resolved_at={**state.resolved_at, lane: mark.resolved_at}, inbound_resolved_at=inbound)
    if mark.loss > state.loss.get(lane, 0):
        state = replace(_with_hole(state, new_id), loss={**state.loss, lane: mark.loss})
    if lane is Lane.BULK and mark.repaired is not None:
        state = _repaired(state, mark.repaired)
    return state


def _with_hole(state: ListState, new_id: NewId) -> ListState:
    """A hole of all channels; its repair covers what the holes of single channels need."""
    return replace(state, hole=new_id(), channel_holes={})


def _repaired(state: ListState, hole: str) -> ListState:
    return replace(
        state,
        hole=None if state.hole == hole else state.hole,
        channel_holes={channel: other for channel, other in state.channel_holes.items() if other != hole},
    )


def _misfit_of_input(state: ListState, topic: str, facts: Facts) -> str | None:
    position = state.inputs.get(topic)
    return _misfit(topic, position, position.offset if position else 0, facts)


def _misfit_of_list(state: ListState, topic: str, facts: Facts) -> str | None:
    return _misfit(topic, state.lists.get(topic), state.list_starts.get(topic, 0), facts)


def _misfit(topic: str, highest: Position | None, lowest: int, facts: Facts) -> str | None:
    """Why a position does not fit its topic: `highest` must not exceed the end, nor `lowest` be below the start."""
    if highest is None:
        return f"no position of {topic} is known"
    if highest.topic_id != facts.ids[topic]:
        return f"{topic} is another topic than the one of the recorded position"
    if highest.offset > facts.ends[topic]:
        return f"{topic} ends at {facts.ends[topic]}, below the recorded position {highest.offset}"
    if lowest < facts.lows[topic]:
        return f"{topic} begins at {facts.lows[topic]}, above the recorded offset {lowest}"
    return None
