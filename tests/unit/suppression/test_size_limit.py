"""An entry that would be too large is reduced, and never permits what the full one suppressed (R4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from consent_contracts import STATUSES, AddressEntry, Decision, effective_verdict, verdicts
from consent_contracts.join import join
from suppression.merge.size_limit import OVERFLOW_SUBJECT, reduce_to_limit
from tests.unit.contracts.strategies import findings

SECOND = 1_000_000
PURPOSES = ("newsletter", "survey", "offers", "*")
moments = st.sampled_from([n * SECOND for n in range(0, 40, 3)])


@st.composite
def changes(draw: st.DrawFn) -> AddressEntry:
    if draw(st.integers(0, 4)) == 0:
        return entry(draw(findings()))
    purpose = draw(st.sampled_from(PURPOSES))
    statuses = sorted(STATUSES - {"given"}) if purpose == "*" else ["given", *sorted(STATUSES)]
    at = draw(moments)
    return entry(
        Decision(
            decision_id=draw(st.sampled_from(["d1", "d2", "d3"])),
            subject_ref=draw(st.sampled_from([None, "ann", "bob", "cid", "dan"])),
            purpose=purpose,
            status=draw(st.sampled_from(statuses)),
            effective_at=at,
            recorded_at=at,
            expires_at=draw(st.none() | moments),
        )
    )


def entry(*decisions: Decision) -> AddressEntry:
    return AddressEntry(tenant="acme", channel="sms", address_key="k1.a", sealed_address=b"s1:a", decisions=decisions)


def joined(parts: list[AddressEntry]) -> AddressEntry:
    return reduce(join, parts)


def at_most(count: int) -> Callable[[AddressEntry], bool]:
    return lambda entry: len(entry.decisions) <= count


def given_by(subject: str, *, at: int, expires_at: int | None = None, purpose: str = "newsletter") -> Decision:
    return Decision(
        decision_id=f"{subject}-{purpose}",
        subject_ref=subject,
        purpose=purpose,
        status="given",
        effective_at=at,
        recorded_at=at,
        expires_at=expires_at,
    )


def refused_by(subject: str | None, *, at: int, purpose: str = "newsletter") -> Decision:
    return Decision(
        decision_id=f"{subject}-{purpose}",
        subject_ref=subject,
        purpose=purpose,
        status="withdrawn",
        effective_at=at,
        recorded_at=at,
    )


@given(
    st.lists(changes(), min_size=1, max_size=16), st.lists(changes(), max_size=4), st.integers(1, 10), moments, moments
)
def test_reduced_entry_never_permits_what_the_full_one_does_not_now_or_after_any_change(
    parts: list[AddressEntry], later: list[AddressEntry], size: int, now: int, then: int
) -> None:
    full = joined(parts)
    small = reduce_to_limit(full, at_most(size))
    for more, moment in (([], now), (later, then)):
        strict, loose = (verdicts(joined([state, *more]).decisions) for state in (small, full))
        for purpose in (*PURPOSES, "unnamed"):
            if effective_verdict(strict, purpose, moment).permitted:
                assert effective_verdict(loose, purpose, moment).permitted


@given(st.lists(changes(), min_size=1, max_size=16), st.integers(1, 10))
def test_it_fits_and_refuses_all_that_was_refused(parts: list[AddressEntry], size: int) -> None:
    full = joined(parts)
    small = reduce_to_limit(full, at_most(size))
    assert at_most(size)(small)
    before, after = verdicts(full.decisions), verdicts(small.decisions)
    for purpose, answer in before.items():
        if not answer.permitted and answer.reason != "unknown":
            found = effective_verdict(after, purpose, 0)
            assert (found.permitted, found.reason != "unknown") == (False, True)


@given(st.lists(changes(), min_size=1, max_size=16), st.integers(1, 10), st.randoms(use_true_random=False))
def test_it_is_the_same_in_whatever_order_the_decisions_came(
    parts: list[AddressEntry], size: int, random: object
) -> None:
    small = reduce_to_limit(joined(parts), at_most(size))
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert reduce_to_limit(joined(parts), at_most(size)) == small
    assert reduce_to_limit(small, at_most(size)) is small


def test_oldest_permissions_go_first_and_the_answer_stays() -> None:
    full = entry(*(given_by(f"s{n}", at=n * SECOND) for n in range(6)))
    small = reduce_to_limit(full, at_most(2))
    assert [d.subject_ref for d in small.decisions] == ["s4", "s5"]
    assert verdicts(small.decisions)["newsletter"].permitted


def test_permission_that_ends_does_not_leave_the_others_to_last_longer() -> None:  # R37
    full = entry(given_by("ann", at=1, expires_at=10), given_by("bob", at=2, expires_at=90))
    assert not effective_verdict(verdicts(reduce_to_limit(full, at_most(1)).decisions), "newsletter", 50).permitted


def test_refusals_of_a_crowded_purpose_become_one_that_no_permission_lifts() -> None:
    full = entry(
        *(refused_by(f"s{n}", at=n * SECOND) for n in range(5)),
        refused_by("t", at=SECOND, purpose="survey"),
        given_by("t", at=SECOND, purpose="offers", expires_at=90 * SECOND),
    )
    small = reduce_to_limit(full, at_most(3))
    assert [(d.subject_ref, d.purpose) for d in small.decisions] == [
        (OVERFLOW_SUBJECT, "newsletter"),
        ("t", "offers"),
        ("t", "survey"),
    ]
    newest = verdicts(small.decisions)["newsletter"]
    assert (newest.reason, newest.since, newest.decision_id) == ("withdrawn", 4 * SECOND, "s4-newsletter")
    again = join(small, entry(given_by("s4", at=80 * SECOND)))
    assert not verdicts(again.decisions)["newsletter"].permitted
