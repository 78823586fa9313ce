"""An erasure's states, its certificate, how long what stays is kept, and who comes back. # R33"""

from __future__ import annotations

from dataclasses import replace

import pytest

from consent_api.domain.addresses import Address
from consent_api.domain.validation import BY_LINK, ValidDecision
from consent_api.ledger import erased
from consent_api.rights.erasure import model, retention, wording
from consent_api.rights.erasure.model import Counts, Delivery, Progress, State, next_state

SECOND = 1_000_000
DAY = 86_400 * SECOND
BEGUN = Progress(
    ended=False,
    erased=False,
    without_objection=0,
    to_erase=2,
    notify_until=100 * DAY,
    requested_at=0,
    tools={},
)
NOT_TAKEN = {"crm": [Delivery.DELIVERED, Delivery.UNDELIVERED]}


@pytest.mark.parametrize(
    ("progress", "now", "state"),
    [
        (replace(BEGUN, without_objection=1), 0, State.OBJECTING),
        (replace(BEGUN, without_objection=1), 200 * DAY, State.OBJECTING),
        (BEGUN, model.SETTLE_MICROS - 1, State.NOTIFYING),
        (BEGUN, model.SETTLE_MICROS, State.ERASING),
        (replace(BEGUN, tools=NOT_TAKEN), DAY, State.NOTIFYING),
        (replace(BEGUN, tools=NOT_TAKEN), 100 * DAY, State.ERASING),
        (replace(BEGUN, tools={"crm": [Delivery.IMPOSSIBLE]}), DAY, State.ERASING),
        (replace(BEGUN, to_erase=0), 0, State.ERASING),
        (replace(BEGUN, to_erase=0, erased=True), 0, State.PUBLISHING),
        (replace(BEGUN, erased=True, ended=True), 0, State.ENDED),
    ],
)
def test_the_states_follow_one_another(progress: Progress, now: int, state: State) -> None:
    assert next_state(progress, now=now) is state


def test_a_certificate_is_read_back_as_it_was_stored() -> None:
    found = model.certificate(
        forgotten=2,
        kept=1,
        counts=Counts(decisions=5, proofs=1) + Counts(decisions=1),
        subject=True,
        retention=retention.load(),
        at=DAY,
        destinations={"crm": model.worst([Delivery.DELIVERED, Delivery.UNDELIVERED, Delivery.IMPOSSIBLE])},
    )
    assert model.from_json(model.as_json(found)) == found
    assert found.destinations == {"crm": Delivery.UNDELIVERED}
    assert {each.count for each in found.goes if each.what.startswith("decisions")} == {6}
    assert all(each.ground for each in found.stays)


@pytest.mark.parametrize(
    ("channel", "address", "years"),
    [
        ("voice", "+33639980001", 3),
        ("voice", "+262639980001", 3),
        ("voice", "+4915112345678", 5),
        ("voice", "+15550100000", None),
        ("voice", None, 5),
        ("sms", "+33639980001", None),
        ("email", "someone@example.com", None),
    ],
)
def test_how_long_a_proof_is_kept(channel: str, address: str | None, years: int | None) -> None:
    period = retention.load().proof(channel, address)
    assert (period.years if period is not None else None) == years
    assert retention.load().objection.ends(0) >= 3 * 365 * DAY


PERMISSION = ValidDecision(
    tenant="acme",
    event_id=None,
    subject_ref="ann",
    address="+33639980001",
    channel="sms",
    purpose="survey",
    status="given",
    effective_at=110 * SECOND,
    recorded_at=120 * SECOND,
    expires_at=None,
    evidence={},
)
ANN, NUMBER = ("acme", "ann"), ("acme", "sms", "+33639980001")


@pytest.mark.parametrize(
    ("permission", "found", "code"),
    [
        (PERMISSION, {}, None),
        (PERMISSION, {ANN: 100 * SECOND}, None),
        (PERMISSION, {ANN: 100 * SECOND, NUMBER: 109 * SECOND}, "erased"),
        (PERMISSION, {NUMBER: None}, "erasure_in_progress"),
        (replace(PERMISSION, address=None), {NUMBER: None}, None),
        (replace(PERMISSION, bulk=True), {ANN: 100 * SECOND}, "erased"),
        (replace(PERMISSION, may_lift=False), {NUMBER: 100 * SECOND}, "erased"),
        (replace(PERMISSION, effective_at=120 * SECOND), {NUMBER: 100 * SECOND}, "erased"),
        (replace(PERMISSION, effective_at=120 * SECOND, sender=BY_LINK), {NUMBER: 100 * SECOND}, None),
    ],
)
def test_who_comes_back(permission: ValidDecision, found: erased.Erased, code: str | None) -> None:
    fault = erased.why_refused(permission, found)
    assert (fault.code if fault is not None else None) == code


def test_an_erasure_that_has_begun_since_is_seen_at_the_address() -> None:
    address = Address(address_id=1, tenant="acme", channel="sms", sealed={"h1.a": b"s"})
    assert erased.why_refused_at(PERMISSION, address) is None
    assert erased.why_refused_at(PERMISSION, replace(address, erasing=True)) is erased.IN_PROGRESS
    gone = replace(address, sealed={"h1.a": None}, erased_at=115 * SECOND)
    assert erased.why_refused_at(PERMISSION, gone) is erased.ERASED
    assert erased.why_refused_at(PERMISSION, replace(gone, erased_at=100 * SECOND)) is None


def test_every_sentence_of_a_certificate_is_there_in_french_and_no_other() -> None:
    periods = retention.load()
    found = model.certificate(
        forgotten=1, kept=1, counts=Counts(decisions=1, proofs=1), subject=True, retention=periods, at=DAY
    )
    grounds = {period.ground for period in (periods.objection, *periods.proofs.values())}
    sentences = {each.what for each in (*found.goes, *found.stays)} | grounds
    sentences |= {part for each in found.stays for part in each.ground.split(wording.GROUNDS)}
    assert set(wording.french()) == sentences
    for each in found.stays:
        french = wording.in_language(each.ground, "fr")
        assert "GDPR" not in french
        assert french.count(wording.GROUNDS) == each.ground.count(wording.GROUNDS)
        assert wording.in_language(each.ground, "en") == each.ground
    assert wording.in_language("a sentence of an older release", "fr") == "a sentence of an older release"
