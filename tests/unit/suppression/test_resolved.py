"""How far the ledger is in a partition of the list: what advances it, what is a hole, what closes one."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from consent_contracts import Topics
from consent_state import Position
from suppression.merge.lanes import Lane
from suppression.resolved.list_state import (
    Beginning,
    Facts,
    ListState,
    ListTopics,
    ResolvedMark,
    advance,
    begin,
    find_misfit,
    from_datum,
    to_datum,
)

NAMES = Topics(channels=("sms", "email"))
TOPICS = ListTopics(
    inputs={Lane.LIVE: NAMES.changes, Lane.BULK: NAMES.changes_bulk},
    channels={NAMES.suppression(channel): channel for channel in NAMES.channels},
)
SMS, EMAIL = NAMES.suppression("sms"), NAMES.suppression("email")
FACTS = Facts(
    ids={topic: f"id of {topic}" for topic in TOPICS.all},
    lows=dict.fromkeys(TOPICS.all, 10),
    ends=dict.fromkeys(TOPICS.all, 100),
)
RECORDED = ListState(
    inputs={topic: Position(FACTS.ids[topic], 50) for topic in TOPICS.inputs.values()},
    lists={topic: Position(FACTS.ids[topic], 60) for topic in TOPICS.channels},
    list_starts=dict.fromkeys(TOPICS.channels, 10),
    resolved_at={Lane.LIVE: 1_000, Lane.BULK: 900},
    loss={Lane.LIVE: 2, Lane.BULK: 2},
)


def ids() -> Any:
    numbers = count(1)
    return lambda: f"hole {next(numbers)}"


def began(recorded: ListState | None, facts: Facts = FACTS) -> Beginning:
    return begin(recorded, facts, TOPICS, ids())


def mark(resolved_at: int = 2_000, *, inbound: int | None = None, loss: int = 2, repaired: str | None = None) -> Any:
    return ResolvedMark(resolved_at, inbound, loss, repaired)


def advanced(state: ListState, *marks: ResolvedMark, lane: Lane = Lane.LIVE, offset: int = 70) -> ListState:
    topic = TOPICS.inputs[lane]
    return advance(state, lane=lane, topic=topic, offset=offset, marks=marks, ends={}, new_id=ids())


def with_id(topic: str, of: Facts = FACTS) -> Facts:
    return replace(of, ids={**of.ids, topic: "another"})


def test_a_partition_goes_on_where_it_was_recorded() -> None:
    state, losses, lists_lost = began(RECORDED)
    assert (losses, lists_lost) == ([], False)
    assert state.inputs == RECORDED.inputs
    assert {position.offset for position in state.lists.values()} == {100}
    assert (state.resolved_at, state.loss, state.hole) == (RECORDED.resolved_at, RECORDED.loss, None)


def test_a_first_start_is_a_hole_of_all_channels_and_begins_at_the_lowest_offsets() -> None:
    state, losses, lists_lost = began(None)
    assert lists_lost
    assert state.hole == "hole 1"
    assert state.channel_holes == {}
    assert {position.offset for position in state.inputs.values()} == {10}
    assert losses[0] == f"no position of {NAMES.changes} is known"


@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda topic: with_id(topic), "is another topic than"),
        (lambda topic: replace(FACTS, ends={**FACTS.ends, topic: 49}), "ends at 49, below the recorded position 50"),
        (lambda topic: replace(FACTS, lows={**FACTS.lows, topic: 51}), "begins at 51, above the recorded offset 50"),
    ],
)
def test_an_input_position_that_does_not_fit_its_topic_is_a_hole_of_all_channels(
    lane: Lane, change: Any, reason: str
) -> None:
    topic = TOPICS.inputs[lane]
    facts = change(topic)
    state, losses, _ = began(RECORDED, facts)
    assert state.hole == "hole 1"
    assert reason in losses[0]
    assert state.inputs[topic] == Position(facts.ids[topic], facts.lows[topic])
    [other] = [each for each in TOPICS.inputs.values() if each != topic]
    assert state.inputs[other].offset == 50


@pytest.mark.parametrize(
    "facts",
    [
        with_id(EMAIL),
        replace(FACTS, ends={**FACTS.ends, EMAIL: 59}),
        replace(FACTS, lows={**FACTS.lows, EMAIL: 11}),
    ],
    ids=["another topic", "lower end", "higher start"],
)
def test_a_list_that_has_lost_entries_is_a_hole_of_its_channel_alone(facts: Facts) -> None:
    assert find_misfit(RECORDED, RECORDED, facts) is not None
    state, _, lists_lost = began(RECORDED, facts)
    assert (state.hole, state.channel_holes) == (None, {"email": "hole 1"})
    assert lists_lost, "the local state holds what the list has lost"
    datum = to_datum(state, TOPICS, 0, 0)
    assert datum["resolved_at"] == 1_000
    again, losses, _ = began(from_datum(datum), facts)
    assert (again, losses) == (state, []), "it is found once"


def test_a_channel_that_was_not_there_before_has_a_hole() -> None:
    without = replace(RECORDED, lists={SMS: RECORDED.lists[SMS]})
    assert began(without).state.channel_holes == {"email": "hole 1"}


def test_positions_exactly_at_the_start_and_at_the_end_fit() -> None:
    lows = dict.fromkeys(TOPICS.inputs.values(), 50) | dict.fromkeys(TOPICS.channels, 10)
    facts = replace(FACTS, lows=lows, ends=dict.fromkeys(TOPICS.all, 60))
    assert began(RECORDED, facts).losses == []


def test_a_hole_stays_open_over_restarts_under_the_same_id() -> None:
    first = began(None).state
    datum = to_datum(first, TOPICS, 3, 5)
    again, losses, _ = begin(from_datum(datum), FACTS, TOPICS, lambda: "another")
    assert losses == []
    assert again.hole == first.hole == "hole 1"


def test_a_loss_during_an_open_hole_gives_it_another_id() -> None:
    open_hole = replace(RECORDED, hole="first", channel_holes={"email": "older"})
    state, *_ = began(open_hole, with_id(NAMES.changes))
    assert (state.hole, state.channel_holes) == ("hole 1", {})


def test_marks_advance_each_lane_by_itself() -> None:
    state = advanced(RECORDED, mark(2_000, inbound=1_500))
    state = advanced(state, mark(1_900, inbound=1_400), lane=Lane.BULK)
    datum = to_datum(state, TOPICS, 3, 5)
    assert {name: datum[name] for name in ("resolved_at", "bulk_resolved_at", "inbound_resolved_at")} == {
        "resolved_at": 2_000,
        "bulk_resolved_at": 1_900,
        "inbound_resolved_at": 1_500,
    }
    assert [each["offset"] for each in datum["inputs"]] == [70, 70]


def test_the_last_mark_of_a_lane_counts_although_an_earlier_one_was_higher() -> None:
    state = advanced(RECORDED, mark(5_000, inbound=4_000), mark(3_000))
    assert state.resolved_at[Lane.LIVE] == 3_000
    assert Lane.LIVE not in state.inbound_resolved_at


def test_without_marks_only_the_positions_advance() -> None:
    state = advance(
        RECORDED, lane=Lane.BULK, topic=NAMES.changes_bulk, offset=80, marks=[], ends={SMS: 75}, new_id=ids()
    )
    assert state.inputs[NAMES.changes_bulk].offset == 80
    assert (state.lists[SMS].offset, state.lists[EMAIL].offset) == (75, 60)
    assert state.resolved_at == RECORDED.resolved_at


def test_a_partition_with_a_hole_passes_on_no_time() -> None:
    state = advanced(replace(RECORDED, hole="h"), mark(inbound=1_500))
    datum = to_datum(state, TOPICS, 3, 5)
    assert datum["hole"] == "h"
    assert [datum[name] for name in ("resolved_at", "bulk_resolved_at", "inbound_resolved_at")] == [None] * 3


@pytest.mark.parametrize("lane", list(Lane))
def test_a_higher_loss_is_a_new_hole(lane: Lane) -> None:
    state = advanced(replace(RECORDED, hole="first"), mark(loss=3), lane=lane)
    assert (state.hole, state.loss) == ("hole 1", {**RECORDED.loss, lane: 3})
    assert advanced(state, mark(loss=3), mark(loss=2), lane=lane).hole == "hole 1"
    assert to_datum(state, TOPICS, 0, 0)["loss"] == 5


def test_a_loss_of_one_topic_does_not_hide_one_of_the_other() -> None:
    """The relay counts the losses of each topic by itself."""
    state = replace(RECORDED, loss={Lane.LIVE: 7})
    state = from_datum(to_datum(state, TOPICS, 0, 0))
    state = advanced(state, mark(loss=1), lane=Lane.BULK)
    assert state.hole == "hole 1"
    assert to_datum(state, TOPICS, 0, 0)["loss"] == 8
    assert advanced(from_datum(to_datum(state, TOPICS, 0, 0)), mark(loss=7)).hole == "hole 1"


def test_the_marker_in_the_bulk_topic_closes_the_hole_that_it_names() -> None:
    state = replace(RECORDED, hole="h", channel_holes={"sms": "c", "email": "e"})
    assert advanced(state, mark(repaired="h"), lane=Lane.LIVE).hole == "h"
    assert advanced(state, mark(repaired="older"), lane=Lane.BULK) == advanced(state, mark(), lane=Lane.BULK)
    state = advanced(state, mark(repaired="h"), lane=Lane.BULK)
    assert (state.hole, state.channel_holes) == (None, {"sms": "c", "email": "e"})
    assert to_datum(state, TOPICS, 0, 0)["bulk_resolved_at"] == 2_000
    assert advanced(state, mark(repaired="c"), lane=Lane.BULK).channel_holes == {"email": "e"}


def test_a_loss_that_comes_with_the_marker_of_the_older_hole_keeps_the_partition_closed() -> None:
    state = advanced(replace(RECORDED, hole="h"), mark(loss=3, repaired="h"), lane=Lane.BULK)
    assert state.hole == "hole 1"


def test_a_running_partition_fits_although_it_has_come_further_than_the_facts() -> None:
    later = advanced(RECORDED, offset=500)
    assert find_misfit(RECORDED, later, replace(FACTS, ends=dict.fromkeys(TOPICS.all, 60))) is None


def test_records_deleted_after_they_were_merged_are_no_loss() -> None:
    facts = replace(FACTS, lows={**FACTS.lows, NAMES.changes: 55})
    assert find_misfit(RECORDED, advanced(RECORDED, offset=56), facts) is None
    assert find_misfit(RECORDED, RECORDED, facts) is not None


@pytest.mark.parametrize("topic", TOPICS.all)
def test_a_topic_that_was_created_again_does_not_fit_a_running_partition(topic: str) -> None:
    assert find_misfit(RECORDED, RECORDED, with_id(topic)) is not None
    assert find_misfit(RECORDED, RECORDED, replace(FACTS, ends={**FACTS.ends, topic: 40})) is not None


def test_the_record_holds_the_whole_state() -> None:
    state = replace(RECORDED, inbound_resolved_at={Lane.LIVE: 800}, channel_holes={"sms": "c"})
    assert from_datum(to_datum(state, TOPICS, 3, 5)) == state
