"""The truth table of design.md, row by row, and what must hold whatever the rows (R4, R5, R6, R14)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_contracts import Decision, effective_verdict, verdicts
from consent_contracts.decisions import UNDELIVERABLE, choices
from consent_contracts.truth_table import lines, vectors
from consent_contracts.verdict import verdict
from tests.unit.contracts.strategies import decisions, findings, purposes

CASES = vectors("verdict")


def _decisions(case: dict[str, Any]) -> list[Decision]:
    return [Decision(**each) for each in case["decisions"]]


@pytest.mark.parametrize("case", CASES, ids=[case["title"] for case in CASES])
def test_truth_table(case: dict[str, Any]) -> None:
    answer = effective_verdict(verdicts(_decisions(case)), case["purpose"], case["at"])
    assert answer._asdict() == case["expect"]


def test_the_published_page_is_the_one_the_vectors_give() -> None:
    page = Path(__file__).parents[3] / "docs" / "truth-table.md"
    assert page.read_text("utf-8").splitlines() == list(lines()), (
        "run: python -m consent_contracts.truth_table > docs/truth-table.md"
    )


@given(st.lists(decisions(), max_size=12), purposes, st.randoms())
def test_verdict_does_not_depend_on_order_or_duplicates(known: list[Decision], purpose: str, random: Any) -> None:
    shuffled = known + random.sample(known, k=len(known) // 2)
    random.shuffle(shuffled)
    assert verdict(shuffled, purpose) == verdict(known, purpose)


@given(st.lists(decisions(), max_size=12), purposes)
def test_the_map_of_verdicts_answers_as_the_rule_does(known: list[Decision], purpose: str) -> None:
    of_the_map = verdicts(known)
    assert of_the_map.get(purpose, of_the_map["*"]) == verdict(known, purpose)


@given(st.lists(decisions() | findings(), max_size=12), purposes)
def test_a_bounce_denies_and_says_so_only_where_no_person_refused(known: list[Decision], purpose: str) -> None:  # R21
    chosen = verdict(choices(tuple(known)), purpose)
    bounced = verdict(known, purpose)
    if bounced.reason == UNDELIVERABLE:
        assert not bounced.permitted
        assert chosen.permitted or chosen.reason == "unknown"
    else:
        assert bounced == chosen
    assert verdicts(known).get(purpose, verdicts(known)["*"]) == bounced


def _numbered(known: list[Decision]) -> list[Decision]:
    """Each under an id of its own, so that an answer names one of them."""
    return [msgspec.structs.replace(each, decision_id=f"d{number:02}") for number, each in enumerate(known)]


@given(st.lists(decisions(), max_size=12).map(_numbered), purposes)
def test_only_a_grant_in_effect_permits(known: list[Decision], purpose: str) -> None:
    answer = verdict(known, purpose)
    if answer.permitted:
        deciding = next(d for d in known if d.decision_id == answer.decision_id and d.purpose == purpose)
        assert deciding.status == "given"


@given(st.lists(decisions(), max_size=12), decisions(statuses=("withdrawn", "objected")), purposes)
def test_a_newest_objection_always_forbids(known: list[Decision], newest: Decision, purpose: str) -> None:
    # R6: whatever was given before, an objection to everything that is newer than all stops every purpose.
    newest = msgspec.structs.replace(newest, purpose="*", effective_at=2**50, recorded_at=2**50)
    assert not verdict([*known, newest], purpose).permitted


def test_a_permission_ends_without_anyone_acting() -> None:
    grant = Decision(
        decision_id="d1",
        subject_ref="ann",
        purpose="survey",
        status="given",
        effective_at=0,
        recorded_at=0,
        expires_at=50,
    )
    known = verdicts([grant])
    assert effective_verdict(known, "survey", 49).permitted
    assert not effective_verdict(known, "survey", 50).permitted
    assert effective_verdict(known, "survey", 50).reason == "expired"
