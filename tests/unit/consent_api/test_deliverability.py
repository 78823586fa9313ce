"""Whether an address takes messages: the same whatever the order of the reports, and however often they come (R21)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consent_api.domain.deliverability import Deliverability, after_all, finding
from consent_contracts.decisions import DELIVERY, Decision
from consent_contracts.verdict import verdict

reports = st.lists(st.tuples(st.sampled_from(["undeliverable", "delivered"]), st.integers(0, 5)), max_size=8)
NOTHING = Deliverability()


@given(reports, st.randoms())
def test_neither_order_nor_repetition_matters(known: list[tuple[str, int]], random: Any) -> None:
    shuffled = known + random.sample(known, k=len(known) // 2)
    random.shuffle(shuffled)
    assert after_all(NOTHING, shuffled) == after_all(NOTHING, known)


@given(reports)
def test_what_is_recorded_step_by_step_is_what_the_list_then_says(known: list[tuple[str, int]]) -> None:
    state, recorded = NOTHING, []
    for number, (status, at) in enumerate(known):
        before, state = state, state.with_report(status, at)
        if (new := finding(before, state)) is not None:
            recorded.append(
                Decision(
                    decision_id=f"d{number}",
                    subject_ref=None,
                    purpose=DELIVERY,
                    status=new[0],
                    effective_at=new[1],
                    recorded_at=number + 5,
                )
            )
        assert (verdict(recorded, "newsletter").reason == "undeliverable") is state.undeliverable


def test_a_late_older_bounce_does_not_beat_a_delivery() -> None:
    assert not after_all(NOTHING, [("delivered", 5), ("undeliverable", 4)]).undeliverable
    assert after_all(NOTHING, [("delivered", 4), ("undeliverable", 5)]).undeliverable
