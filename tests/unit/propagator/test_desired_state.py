"""Verdicts and a purpose mapping in, actions out."""

from consent_contracts.decisions import Decision
from consent_contracts.verdict import verdicts
from propagator.config import Purposes
from propagator.connector import PERMIT, SUPPRESS
from propagator.desired import Desired, desired

NOW = 1_700_000_000_000_000
SECOND = 1_000_000


def made(number: int, status: str, purpose: str, *, expires_at: int | None = None, subject: str = "ann") -> Decision:
    at = NOW - 100 * SECOND + number * 10 * SECOND
    return Decision(
        decision_id=f"d{number}",
        subject_ref=subject,
        purpose=purpose,
        status=status,
        effective_at=at,
        recorded_at=at,
        expires_at=expires_at,
    )


def want(*decisions: Decision, same: bool = False, permissions: bool = True, **targets: tuple[str, ...]) -> Desired:
    purposes = Purposes(targets={name.replace("every", "*"): each for name, each in targets.items()}, same=same)
    return desired(decisions, verdicts(decisions), purposes, now=NOW, push_permissions=permissions)


def actions(found: Desired) -> dict[str, str]:
    return {each.target: each.action for each in found.wanted}


def test_unknown_says_nothing() -> None:
    assert not want(newsletter=("n",)).wanted


def test_a_purpose_speaks_for_its_own_target_only() -> None:  # R3
    found = want(made(1, "withdrawn", "survey"), newsletter=("n",), survey=("s",))
    assert actions(found) == {"s": SUPPRESS}


def test_a_target_of_several_purposes_is_closed_by_one_refusal_and_opened_by_all() -> None:
    refused, given = made(1, "refused", "survey"), made(2, "given", "newsletter")
    assert actions(want(refused, given, newsletter=("x",), survey=("x",))) == {"x": SUPPRESS}
    assert actions(want(given, newsletter=("x",), survey=("x",))) == {}
    both = want(given, made(3, "given", "survey"), newsletter=("x",), survey=("x",))
    assert actions(both) == {"x": PERMIT}


def test_permissions_need_to_be_wanted() -> None:
    given = made(1, "given", "newsletter")
    assert actions(want(given, newsletter=("n",))) == {"n": PERMIT}
    assert actions(want(given, newsletter=("n",), permissions=False)) == {}


def test_an_expired_permission_is_a_no() -> None:  # R4
    found = want(made(1, "given", "newsletter", expires_at=NOW - 1), newsletter=("n",), permissions=False)
    assert actions(found) == {"n": SUPPRESS}
    assert found.wanted[0].reason == "expired"


def test_a_refusal_of_everything_reaches_each_target_and_the_global_one() -> None:  # R6
    found = want(made(1, "objected", "*"), newsletter=("n",), survey=("s",), every=("global",))
    assert actions(found) == {"n": SUPPRESS, "s": SUPPRESS, "global": SUPPRESS}


def test_beside_a_named_purpose_the_star_adds_nothing() -> None:
    refusal, given = made(1, "withdrawn", "*"), made(2, "given", "newsletter")
    found = want(refusal, given, newsletter=("n",), survey=("s",), every=("n", "s"))
    assert actions(found) == {"n": PERMIT, "s": SUPPRESS}


def test_every_agreeing_decision_is_carried_so_that_each_gets_its_proof() -> None:  # R28
    found = want(
        made(1, "withdrawn", "newsletter", subject="bob"), made(2, "withdrawn", "newsletter"), newsletter=("n",)
    )
    assert found.wanted[0].decision_ids == ("d2", "d1")
    assert found.wanted[0].recorded_at == made(2, "withdrawn", "newsletter").recorded_at


def test_a_refusal_without_a_target_is_reported_unless_the_tool_never_sends_it() -> None:
    refusal = made(1, "withdrawn", "billing")
    assert want(refusal, newsletter=("n",)).nowhere == ("d1",)
    assert want(refusal, newsletter=("n",), billing=()).nowhere == ()


def test_same_names_each_purpose_by_itself() -> None:
    found = want(made(1, "withdrawn", "*"), made(2, "given", "newsletter"), same=True)
    assert actions(found) == {"*": SUPPRESS, "newsletter": PERMIT}


def test_the_push_id_is_stable_and_differs_by_state() -> None:
    given = want(made(1, "given", "newsletter"), newsletter=("n",)).wanted[0]
    again = want(made(1, "given", "newsletter"), newsletter=("n",)).wanted[0]
    other = want(made(2, "given", "newsletter"), newsletter=("n",)).wanted[0]
    assert given.push_id("a", "k") == again.push_id("a", "k") != other.push_id("a", "k")
    assert len(given.push_id("a", "k")) == 32
