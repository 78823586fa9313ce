"""How an entry on the list is compared with the ledger. # R64"""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_api.operations.verify import compare as rules
from consent_api.operations.verify.compare import (
    DifferenceKind,
    EntryLocation,
    Found,
    ListEntry,
    UnreadableEntry,
    compare,
    current_entry,
)
from consent_contracts import AddressEntry, Decision, verdicts
from consent_contracts.join import join
from suppression.merge import size_limit
from suppression.merge.rule import fail_closed_entry, merge
from suppression.merge.size_limit import reduce_to_limit
from suppression.partition import serde
from tests.unit.contracts.strategies import decisions, entries

SECOND = 1_000_000
KEY = "h1.q83v"
PLACE = EntryLocation(tenant="acme", channel="sms", address_key=KEY, partition=2)


def decision(number: int, status: str = "withdrawn", **fields: Any) -> Decision:
    given = {
        "decision_id": f"0198c0de-0000-7000-8000-{number:012d}",
        "subject_ref": "ann",
        "purpose": "newsletter",
        "status": status,
        "effective_at": number * 10 * SECOND,
        "recorded_at": number * 10 * SECOND,
    }
    return Decision(**{**given, **fields})


def entry(*held: Decision, **fields: Any) -> AddressEntry:
    whole = current_entry("acme", "sms", KEY, held)
    return AddressEntry(
        **{
            "tenant": whole.tenant,
            "channel": whole.channel,
            "address_key": whole.address_key,
            "sealed_address": b"s1:sealed",
            "decisions": whole.decisions,
            **fields,
        }
    )


def on_list(held: AddressEntry, **fields: Any) -> ListEntry:
    return ListEntry(**{"entry": held, "verdicts": verdicts(held.decisions), "partition": 2, **fields})


def kinds(found: Found, ledger: tuple[Decision, ...], *later: Decision, large: bool = False) -> list[DifferenceKind]:
    """Of an address that the ledger held `ledger` of when it was first read, and `later` besides at last."""
    expected = current_entry("acme", "sms", KEY, ledger) if ledger else None
    return [each.kind for each in compare(PLACE, found, expected=expected, recorded=(*ledger, *later), large=large)]


GIVEN, WITHDRAWN, AGAIN = decision(1, "given"), decision(2), decision(3, "given")


def test_an_entry_of_all_decisions_does_not_differ_and_none_is_none() -> None:
    assert kinds(on_list(entry(GIVEN, WITHDRAWN)), (GIVEN, WITHDRAWN)) == []
    assert kinds(None, ()) == []


def test_an_entry_of_before_an_erasure_differs_in_nothing_but_that() -> None:  # R33
    """A repair that took it for a permission without a decision would record the erased person again."""
    objection = decision(9, "objected", subject_ref=None, purpose="*")
    expected = current_entry("acme", "sms", KEY, [objection], erased_at=objection.recorded_at)
    for held, found in [
        (entry(GIVEN), [DifferenceKind.NOT_ERASED]),
        (entry(objection, erased_at=objection.recorded_at), []),
    ]:
        differences = compare(PLACE, on_list(held), expected=expected, recorded=[objection])
        assert [each.kind for each in differences] == found


def test_what_the_list_lacks() -> None:
    assert kinds(None, (GIVEN,)) == [DifferenceKind.MISSING_ENTRY]
    survey = decision(4, purpose="survey")
    assert kinds(on_list(entry(WITHDRAWN)), (WITHDRAWN, survey)) == [DifferenceKind.MISSING_DECISION]
    assert kinds(on_list(entry(GIVEN)), (GIVEN, WITHDRAWN)) == [DifferenceKind.OLDER_DECISION]


def test_a_bounce_and_the_delivery_after_it_are_compared_as_decisions_are() -> None:  # R21
    bounce, delivery = (
        decision(number, status, subject_ref=None, purpose="@delivery")
        for number, status in ((5, "undeliverable"), (6, "delivered"))
    )
    assert kinds(on_list(entry(GIVEN, bounce)), (GIVEN, bounce)) == []
    assert kinds(on_list(entry(GIVEN, delivery)), (GIVEN, bounce, delivery)) == []
    assert kinds(on_list(entry(GIVEN)), (GIVEN, bounce)) == [DifferenceKind.MISSING_DECISION]
    assert kinds(on_list(entry(GIVEN, bounce)), (GIVEN, bounce, delivery)) == [DifferenceKind.OLDER_DECISION]
    # An entry whose verdicts leave the bounce out would be read as a permission.
    assert kinds(on_list(entry(GIVEN, bounce), verdicts=verdicts([GIVEN])), (GIVEN, bounce)) == [
        DifferenceKind.WRONG_VERDICT
    ]


def test_what_the_ledger_lacks() -> None:
    assert kinds(on_list(entry(GIVEN)), ()) == [DifferenceKind.PERMISSION_WITHOUT_LEDGER]
    assert kinds(on_list(entry(WITHDRAWN, AGAIN)), (WITHDRAWN,)) == [DifferenceKind.PERMISSION_WITHOUT_LEDGER]
    assert kinds(on_list(entry(WITHDRAWN)), ()) == [DifferenceKind.REFUSAL_WITHOUT_LEDGER]
    changed = decision(2, effective_at=1)
    assert kinds(on_list(entry(changed)), (WITHDRAWN,)) == [
        DifferenceKind.OLDER_DECISION,
        DifferenceKind.REFUSAL_WITHOUT_LEDGER,
    ]


def test_a_decision_recorded_meanwhile_may_be_on_the_list_or_not() -> None:
    assert kinds(on_list(entry(GIVEN)), (GIVEN,), WITHDRAWN) == []
    assert kinds(on_list(entry(GIVEN, WITHDRAWN)), (GIVEN,), WITHDRAWN, AGAIN) == []
    assert kinds(on_list(entry(GIVEN, AGAIN)), (GIVEN,), WITHDRAWN, AGAIN) == []
    assert kinds(None, (), WITHDRAWN) == []


def test_a_bulk_decision_that_was_repeated_live_meanwhile_is_the_same_decision() -> None:
    bulk = decision(2, bulk=True)
    live = decision(2, bulk=False)
    assert kinds(on_list(entry(bulk)), (bulk,), live) == []
    assert kinds(on_list(entry(bulk)), (live,)) == [DifferenceKind.OLDER_DECISION]


def test_verdicts_that_do_not_follow_from_the_decisions() -> None:
    held = entry(WITHDRAWN)
    assert kinds(on_list(held, verdicts=verdicts([GIVEN])), (WITHDRAWN,)) == [DifferenceKind.WRONG_VERDICT]
    assert kinds(on_list(held, verdicts={}), (WITHDRAWN,)) == [DifferenceKind.WRONG_VERDICT]
    empty = entry()
    assert kinds(on_list(empty, verdicts=verdicts([GIVEN])), ()) == [DifferenceKind.WRONG_VERDICT]


@pytest.mark.parametrize(
    "found",
    [
        on_list(entry(WITHDRAWN, tenant="umbrella")),
        on_list(entry(WITHDRAWN, channel="email")),
        on_list(entry(WITHDRAWN, address_key="h1.other")),
        on_list(entry(WITHDRAWN), partition=0),
    ],
)
def test_an_entry_of_another_address_or_in_another_partition(found: ListEntry) -> None:
    assert kinds(found, (WITHDRAWN,)) == [DifferenceKind.WRONG_ADDRESS]


def test_bytes_that_are_no_entry() -> None:
    assert kinds(UnreadableEntry(reason="truncated"), ()) == [DifferenceKind.UNREADABLE_ENTRY]


def test_what_the_merge_made_of_a_loss_is_no_defect() -> None:
    """But what it still lacks of the ledger is."""
    after_loss = fail_closed_entry(entry(GIVEN), lost=b"garbage", now=100 * SECOND)
    assert kinds(on_list(join(after_loss, entry(GIVEN, WITHDRAWN))), (GIVEN, WITHDRAWN)) == [DifferenceKind.MARKED]
    assert kinds(on_list(after_loss), (GIVEN,)) == [DifferenceKind.MISSING_DECISION, DifferenceKind.MARKED]
    forged = on_list(join(after_loss, entry(AGAIN)))
    assert kinds(forged, ()) == [DifferenceKind.MARKED, DifferenceKind.MARKED], "a permission that is void already"
    assert not kinds(forged, ())[0].is_defect


def test_only_ids_that_the_system_makes_itself_are_marks() -> None:
    mark = {"subject_ref": None, "purpose": "*", "status": "invalidated"}
    assert rules.is_mark(decision(1, **mark, decision_id=str(uuid5(UUID(int=0), "any"))))
    assert not rules.is_mark(decision(1, **mark))
    assert not rules.is_mark(decision(1, **mark, decision_id="d1"))


def test_an_entry_that_was_reduced_is_no_defect_unless_it_permits_more() -> None:
    history = tuple(decision(number, subject_ref=f"s{number}") for number in range(1, 40))
    reduced = reduce_to_limit(entry(*history), lambda smaller: len(smaller.decisions) < 5)
    assert set(kinds(on_list(reduced), history)) == {DifferenceKind.LIMITED}
    forged = join(entry(decision(1, "given", subject_ref="@overflow")), entry())
    assert DifferenceKind.MISSING_DECISION in kinds(on_list(forged), history)
    assert DifferenceKind.PERMISSION_WITHOUT_LEDGER in kinds(on_list(forged), history)


def test_a_large_entry_may_lack_permissions_and_no_refusal() -> None:
    held = on_list(entry(decision(1, purpose="survey")))
    ledger = (decision(1, purpose="survey"), GIVEN, decision(4, purpose="offers"))
    assert sorted(kinds(held, ledger, large=True)) == [DifferenceKind.LIMITED, DifferenceKind.MISSING_DECISION]


def test_the_limits_are_those_of_the_merge() -> None:
    assert (rules.MAX_ENTRY_BYTES, rules.OVERFLOW_SUBJECT) == (serde.MAX_ENTRY_BYTES, size_limit.OVERFLOW_SUBJECT)


@given(st.lists(decisions(), max_size=12), st.randoms(use_true_random=False))
def test_the_expected_entry_is_what_the_merge_makes_of_the_decisions_in_any_order(
    history: list[Decision], random: Random
) -> None:
    changes = [AddressEntry(**{**_fields(entry()), "decisions": (each,)}) for each in history + history[:3]]
    random.shuffle(changes)
    state: dict[tuple[str, str], AddressEntry] = {}
    while changes:
        size = random.randint(1, len(changes))
        chunk, changes = changes[:size], changes[size:]
        state |= merge(state, chunk, rewrites={0} if random.random() < 0.5 else ()).entries
    merged = state.get(("sms", KEY))
    expected = current_entry("acme", "sms", KEY, history)
    assert (merged.decisions if merged else ()) == expected.decisions
    found = on_list(merged) if merged else None
    assert compare(PLACE, found, expected=expected if history else None, recorded=history) == []


@given(entries(), st.lists(decisions(), max_size=6))
def test_an_entry_that_permits_more_than_the_ledger_is_a_defect(other: AddressEntry, history: list[Decision]) -> None:
    """Whatever a client writes over the entry: if it permits a purpose that the ledger does not, that is found."""
    forged = AddressEntry(**{**_fields(entry()), "decisions": other.decisions})
    bound, allowed = verdicts(history), verdicts(forged.decisions)
    expected = current_entry("acme", "sms", KEY, history) if history else None
    found = compare(PLACE, on_list(forged), expected=expected, recorded=history)
    for purpose, verdict in allowed.items():
        if verdict.permitted and not bound.get(purpose, bound["*"]).permitted:
            assert any(each.kind.is_defect for each in found)


def _fields(held: AddressEntry) -> dict[str, Any]:
    return {name: getattr(held, name) for name in held.__struct_fields__}
