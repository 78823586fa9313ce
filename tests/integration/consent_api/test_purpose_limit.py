"""A tenant has a bounded number of purposes, and what names one more is refused with its cure (R45)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from consent_api.domain.validation import Purposes, ValidationRules
from consent_api.errors import SubmissionInvalidError
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.purposes import PurposeLimit, with_used
from tests.integration.consent_api.accepted import decision


@pytest.fixture
def limited(ledger: Ledger) -> Ledger:
    return Ledger(engine=ledger.engine, context=replace(ledger.context, purposes=PurposeLimit(most=3)))


def test_the_purposes_beyond_are_refused_and_all_else_is_recorded(limited: Ledger) -> None:
    batch = [decision(subject_ref="s1", purpose=f"p{number}") for number in range(5)]
    first = limited.record([*batch, decision(subject_ref="s1", purpose="*"), batch[0]])
    assert [isinstance(each, RecordedDecision) for each in first] == [True, True, True, False, False, True, True]
    refused = first[3]
    assert isinstance(refused, SubmissionInvalidError)
    [fault] = refused.faults
    assert (fault.pointer, fault.code) == ("/purpose", "too_many_purposes")
    assert "CONSENT_RELAY_MAX_PURPOSES" in fault.cure
    assert [isinstance(each, RecordedDecision) for each in limited.record(batch)] == [True, True, True, False, False]


def test_one_tenant_s_purposes_are_none_of_another_s(limited: Ledger, engine: Engine) -> None:
    for number in range(3):
        limited.record([decision(subject_ref="s1", purpose=f"p{number}")])
    with engine.begin() as connection:
        assert not limited.context.purposes.admit(connection, [("globex", "p9")])
        assert limited.context.purposes.admit(connection, [("acme", "p9")]) == {("acme", "p9")}


def test_what_was_rolled_back_is_not_taken_for_recorded(limited: Ledger, engine: Engine) -> None:
    with engine.connect() as connection:
        assert not limited.context.purposes.admit(connection, [("acme", "a"), ("acme", "b"), ("acme", "c")])
        connection.rollback()
    outcomes = limited.record([decision(subject_ref="s1", purpose=each) for each in ("d", "e", "f", "a")])
    assert sum(isinstance(each, RecordedDecision) for each in outcomes) == 3


def test_purposes_that_are_not_known_are_those_that_were_used(limited: Ledger) -> None:
    of_globex = Purposes(declared=frozenset({"offers"}))
    rules = ValidationRules(
        channels=("sms",),
        default_region="FR",
        tenant_purposes={"acme": Purposes(used=frozenset()), "globex": of_globex},
    )
    limited.record([decision(subject_ref="s1", purpose=each) for each in ("a", "b", "*")])
    with_them = with_used(rules, limited.transact)
    assert with_them.purposes_of("acme") == Purposes(used=frozenset({"a", "b"}))
    assert with_them.purposes_of("globex") == of_globex
