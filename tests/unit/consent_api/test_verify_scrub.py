"""When the scrub compares, how little of the processor it uses, and how far it trusts the resolved timestamps. # R64"""

from __future__ import annotations

from typing import Any

import pytest

from consent_api.operations.verify.ledger_entries import Slice
from consent_api.operations.verify.list_reader import Fingerprints
from consent_api.operations.verify.reached import Reached, reached
from consent_api.operations.verify.scrub import SHARE, Pacer
from consent_api.operations.verify.scrub_table import ScrubState

SECOND = 1_000_000
NOW = 1_790_000_000 * SECOND
LIST = "suppression.sms.v1"


def state(**fields: Any) -> ScrubState:
    slices = (Slice(channel="sms"), Slice(channel="email"))
    return ScrubState(
        **{"started_at": NOW, "slices": slices, "done": 2, "completed_at": NOW, "now": NOW + 10 * SECOND, **fields}
    )


def test_a_pass_is_due_a_period_after_the_last_one_began_and_never_while_one_is_under_way() -> None:
    assert state().is_due(10)
    assert not state().is_due(11)
    assert not state(done=1).is_due(10)
    assert state(started_at=None, slices=(), done=0, completed_at=None).is_due(10)
    assert state(done=1).next == Slice(channel="email")
    assert (state(done=1).coverage, state().coverage, state().age_seconds) == (0.5, 1.0, 10.0)


def test_a_pass_of_which_only_failed_parts_remain_gives_way_to_the_next() -> None:
    email = Slice(channel="email")
    assert state(done=1).is_due(10, failed={email})
    assert not state(done=1).is_due(11, failed={email})
    assert not state(done=0).is_due(10, failed={email})


def test_a_step_is_followed_by_a_pause_in_proportion() -> None:
    used = iter([0.0, 0.3, 0.3, 0.5, 0.5])
    pauses: list[float] = []
    pace = Pacer(pauses.append, clock=lambda: next(used))
    pace()
    pace()
    assert pauses == pytest.approx([0.3 * (1 / SHARE - 1), 0.2 * (1 / SHARE - 1)])


def resolved(**fields: Any) -> dict[str, Any]:
    return {
        "partition": 1,
        "resolved_at": NOW,
        "bulk_resolved_at": NOW - SECOND,
        "lists": [{"topic": LIST, "topic_id": "t", "end_offset": 7}],
        "hole": None,
        "channel_holes": {},
        **fields,
    }


def test_a_list_has_reached_the_older_of_both_lanes() -> None:
    assert reached([resolved()], LIST, "sms", now=NOW) == {1: Reached(until=NOW - SECOND, end=7)}


@pytest.mark.parametrize(
    "fields",
    [
        {"resolved_at": None},
        {"bulk_resolved_at": None},
        {"hole": "one"},
        {"channel_holes": {"sms": "one"}},
        {"lists": []},
        {"resolved_at": NOW + 3 * SECOND},
    ],
)
def test_a_hole_or_a_time_that_is_not_known_reaches_nothing(fields: dict[str, Any]) -> None:
    assert reached([resolved(**fields)], LIST, "sms", now=NOW) == {}
    assert reached([resolved(channel_holes={"email": "one"})], LIST, "sms", now=NOW) != {}


def test_slices_hold_each_key_once() -> None:
    keys = [f"h1.{first}{rest}".encode() for first in "abcXYZ019-_" for rest in ("", "abc")] + [b"", b"h1", b"h1."]
    for of in (1, 2, 7, 64):
        parts = [Slice(channel="sms", number=number, of=of) for number in range(of)]
        assert all(sum(part.holds(key) for part in parts) == 1 for key in keys)


def test_a_key_in_two_partitions_has_no_fingerprint() -> None:
    prints = Fingerprints()
    prints.put(b"h1.a", 1, 5)
    prints.put(b"h1.a", 1, 6)
    prints.put(b"h1.b", 1, 5)
    prints.put(b"h1.b", 2, 5)
    prints.put(b"h1.b", 2, 5)
    prints.put(b"h1.c", 0, 5)
    prints.remove(b"h1.c")
    assert prints.take(b"h1.a") == 6
    assert prints.take(b"h1.b") == -1
    assert prints.take(b"h1.c") is None
    assert prints.rest() == []
