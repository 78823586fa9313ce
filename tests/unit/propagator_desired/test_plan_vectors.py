"""The table of `plan`, row by row, and its edges: vectors/plan.json, which any language can run."""

from __future__ import annotations

from typing import Any

import pytest

from consent_contracts import Decision, verdicts
from consent_contracts.truth_table import vectors
from propagator.desired.model import (
    DeliveredTarget,
    DestinationRules,
    ListEntry,
    Plan,
    PlannedPush,
    Purposes,
    RetryState,
    own_entry,
)
from propagator.desired.plan import plan

CASES = vectors("plan")


@pytest.mark.parametrize("case", CASES, ids=[f"{case['rule']}: {case['title']}" for case in CASES])
def test_the_plan_is_the_difference_of_the_two_states(case: dict[str, Any]) -> None:
    rules = _rules(case["rules"])
    found = plan(
        own_entry(rules, _entry(case["entry"])),
        {each["target"]: _row(each) for each in case["delivered"]},
        rules,
        fill_began_at=case["fill_began_at"],
        now=case["now"],
    )
    assert _as_json(found) == case["expect"]


@pytest.mark.parametrize("address_required", [True, False])
def test_an_erased_address_is_not_sent_to_a_tool_that_needs_it(address_required: bool) -> None:  # R33
    rules = DestinationRules(
        destination="under-test",
        tenant="acme",
        channel="sms",
        purposes=Purposes(targets={"survey": ("list",), "newsletter": ("other",)}),
        push_permissions=True,
        address_required=address_required,
        live_keys=("h1",),
    )
    objection = Decision(
        decision_id="d2", subject_ref=None, purpose="*", status="objected", effective_at=9, recorded_at=9
    )
    entry = ListEntry(
        tenant="acme",
        channel="sms",
        address_key="h1.a",
        sealed_address=None,
        decisions=(objection,),
        verdicts=verdicts([objection]),
        written_at=9,
        erased_at=9,
    )
    suppressed = DeliveredTarget(target="list", action="suppress", decision_ids=("d1",), version=1, delivered_at=1)
    found = plan(own_entry(rules, entry), {"list": suppressed}, rules, fill_began_at=0, now=10)
    assert [each.target for each in found.adoptions] == ["list"]
    assert [each.state.target for each in found.pushes] == ([] if address_required else ["other"])


def test_every_case_has_a_title_of_its_own() -> None:
    names = [(case["rule"], case["title"]) for case in CASES]
    assert len(set(names)) == len(names) > 60


def _rules(given: dict[str, Any]) -> DestinationRules:
    return DestinationRules(
        destination="under-test",
        tenant=given["tenant"],
        channel=given["channel"],
        purposes=Purposes(
            targets={purpose: tuple(targets) for purpose, targets in given["purposes"].items()}, same=given["same"]
        ),
        push_permissions=given["push_permissions"],
        address_required=given["address_required"],
        live_keys=tuple(given["live_keys"]),
    )


def _entry(given: dict[str, Any] | None) -> ListEntry | None:
    if given is None:
        return None
    decisions = tuple(Decision(**each) for each in given["decisions"])
    return ListEntry(
        tenant=given["tenant"],
        channel=given["channel"],
        address_key=given["address_key"],
        sealed_address=None,
        decisions=decisions,
        verdicts=verdicts(decisions),
        written_at=given["written_at"],
    )


def _row(given: dict[str, Any]) -> DeliveredTarget:
    retry = given["retry"]
    if retry is not None:
        retry = RetryState(**(retry | {"decision_ids": tuple(retry["decision_ids"])}))
    return DeliveredTarget(**(given | {"decision_ids": tuple(given["decision_ids"]), "retry": retry}))


def _as_json(found: Plan) -> dict[str, Any]:
    return {
        "pushes": [_push(each) for each in sorted(found.pushes, key=lambda each: each.state.target)],
        "adoptions": [{"target": each.target, "decision_ids": list(each.decision_ids)} for each in found.adoptions],
        "unmapped": list(found.unmapped.unmapped_decisions) if found.unmapped is not None else [],
        "forget": found.forget,
        "impossible": list(found.impossible),
    }


def _push(planned: PlannedPush) -> dict[str, Any]:
    state = planned.state
    return {
        "target": state.target,
        "action": state.action,
        "purposes": list(state.purposes),
        "reason": state.reason,
        "decision_ids": list(state.decision_ids),
        "live": planned.live,
        "since": planned.since,
        "not_before": planned.not_before,
        "attempts": planned.attempts,
        "leaving": planned.leaving,
        "expires_at": state.expires_at,
    }
