"""What a record may hold to count: times of the calendar, and statements that a merge or a relay can make (R10)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_contracts import InvalidRecordError, entry_from_avro, entry_from_change, entry_to_avro, verdicts_of
from consent_contracts.checks import LAST_MOMENT, check_resolved
from consent_contracts.join import join
from consent_contracts.records import check_mark
from tests.support.tables import each_of
from tests.unit.contracts.strategies import entries
from tests.unit.contracts.test_codec import CHANGE

YEAR_11476 = 300_000_000_000_000_000
IMPOSSIBLE = [-1, LAST_MOMENT + 1, YEAR_11476, 2**63 - 1, -(2**63)]
RESOLVED: dict[str, Any] = {
    "partition": 3,
    "resolved_at": 5,
    "bulk_resolved_at": None,
    "inbound_resolved_at": None,
    "loss": 2,
    "bulk_loss": 1,
    "lists": [{"topic": "suppression.sms.v1", "topic_id": "a", "start_offset": 0, "end_offset": 7}],
    "inputs": [{"topic": "consent.changes.v1", "topic_id": "b", "offset": 9}],
    "hole": "0f3c2b",
    "channel_holes": {"sms": "0f3c2b"},
    "written_at": 6,
}


def entry_datum(**changes: Any) -> dict[str, Any]:
    return {**entry_to_avro(entry_from_change({**CHANGE, "expires_at": 9}), written_at=7), **changes}


@pytest.mark.parametrize("moment", IMPOSSIBLE)
@pytest.mark.parametrize("field", ["effective_at", "recorded_at", "expires_at"])
def test_a_change_has_times_of_the_calendar(field: str, moment: int) -> None:  # R10
    with pytest.raises(InvalidRecordError):
        entry_from_change({**CHANGE, "recorded_at": max(2, moment), field: moment})


@pytest.mark.parametrize("moment", IMPOSSIBLE)
@pytest.mark.parametrize("field", ["effective_at", "recorded_at", "expires_at"])
def test_an_entry_has_times_of_the_calendar(field: str, moment: int) -> None:
    datum = entry_datum()
    datum["decisions"][0][field] = moment
    with pytest.raises(InvalidRecordError) as refused:
        entry_from_avro(datum)
    assert refused.value.field == field
    with pytest.raises(InvalidRecordError):
        entry_from_avro(entry_datum(written_at=moment))


@pytest.mark.parametrize("moment", IMPOSSIBLE)
@pytest.mark.parametrize("field", ["since", "expires_at"])
def test_a_verdict_has_times_of_the_calendar(field: str, moment: int) -> None:
    datum = entry_datum()
    datum["verdicts"]["*"][field] = moment
    with pytest.raises(InvalidRecordError):
        verdicts_of(datum)


def test_the_last_moment_of_the_calendar_is_one() -> None:
    datum = {**CHANGE, "effective_at": LAST_MOMENT, "recorded_at": LAST_MOMENT, "expires_at": LAST_MOMENT}
    assert entry_from_change(datum).decisions[0].expires_at == LAST_MOMENT


@pytest.mark.parametrize("change", [{}, {"hole": None}, {"channel_holes": {}}, {"resolved_at": None}, {"lists": []}])
def test_what_a_merge_writes_counts(change: dict[str, Any]) -> None:
    check_resolved({**RESOLVED, **change}, 3)


@each_of(
    "change",
    [
        {"partition": 4},
        *({name: moment} for name in ("resolved_at", "bulk_resolved_at", "written_at") for moment in IMPOSSIBLE),
        {"loss": -1, "bulk_loss": -1},
        {"loss": 2**63 - 1},
        {"bulk_loss": 3},
        {"lists": [{**RESOLVED["lists"][0], "end_offset": -1}]},
        {"lists": [{**RESOLVED["lists"][0], "start_offset": -2}]},
        {"inputs": [{**RESOLVED["inputs"][0], "offset": -1}]},
        {"hole": ""},
        {"hole": "a\0b"},
        {"hole": "h" * 65},
        {"channel_holes": {"sms": "h\n"}},
        {"channel_holes": {"s" * 33: "h"}},
        {"channel_holes": {"": "h"}},
    ],
)
def test_what_no_merge_writes_does_not_count(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecordError):
        check_resolved({**RESOLVED, **change}, 3)


@pytest.mark.parametrize("change", [{"loss": -1}, {"loss": 2**62}, {"resolved_at": -1}, {"inbound_resolved_at": 2**62}])
def test_what_no_relay_writes_does_not_count(change: dict[str, Any]) -> None:
    mark = {"resolved_at": 5, "inbound_resolved_at": None, "loss": 0, "repaired": None}
    check_mark(mark)
    with pytest.raises(InvalidRecordError):
        check_mark({**mark, **change})


@given(entries(), st.sampled_from([None, b"", b"s1:a", b"\xff" * 40]))
def test_an_empty_seal_is_read_as_none(entry: Any, seal: bytes | None) -> None:
    """Then one delivery and two make the same entry."""
    read = entry_from_avro({**entry_to_avro(entry, 0), "sealed_address": seal})
    assert read.sealed_address == (seal or None)
    assert join(read, read) is read
    assert entry_from_change({**CHANGE, "sealed_address": seal}).sealed_address == (seal or None)
