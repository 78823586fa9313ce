"""How long a permission lasts at most, by channel and jurisdiction. # R37 R50"""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from consent_api.domain.effects import Effect, Outcome
from consent_api.domain.validation import EVIDENCE, ExpiryCut, ValidationRules, midnight, rfc3339, validate
from consent_api.domain.validation.validity import bounds, cut
from consent_api.http import rendering
from consent_api.ledger.deduplication import RecordedDecision

FRANCE, MAYOTTE, BELGIUM = "+33639980011", "+262639000000", "+32470000000"
DAY = 86_400 * 1_000_000
LAW, NOW = midnight(date(2026, 8, 11)), midnight(date(2026, 11, 26))


def day(text: str) -> int:
    return midnight(date.fromisoformat(text))


@pytest.mark.parametrize(
    ("channel", "address", "collected", "expires", "now", "ends"),
    [
        ("voice", FRANCE, "2026-11-20", "2029-01-01", NOW, "2027-11-20"),
        ("voice", FRANCE, "2026-11-20", "2027-11-20", NOW, None),  # 365 days are a year at most.
        ("voice", FRANCE, "2026-11-20", "2027-11-21", NOW, "2027-11-20"),
        ("voice", FRANCE, "2026-11-20", "2027-01-01", NOW, None),
        ("voice", MAYOTTE, "2026-11-20", "2029-01-01", NOW, "2027-11-20"),
        ("voice", BELGIUM, "2026-11-20", "2029-01-01", NOW, None),
        ("voice", None, "2026-11-20", "2029-01-01", NOW, "2027-11-20"),  # Numbers to come are taken for French.
        ("sms", FRANCE, "2026-11-20", "2029-01-01", NOW, None),
        ("email", None, "2026-11-20", "2029-01-01", NOW, None),
        ("voice", FRANCE, "2024-01-01", "2029-01-01", NOW, "2024-12-31"),  # Ended before it was recorded.
        ("voice", FRANCE, "2026-08-01", "2029-01-01", LAW, "2027-08-01"),
        ("voice", FRANCE, "2026-08-01", "2029-01-01", LAW - 1, None),
    ],
)
def test_a_permission_ends_by_its_bound(
    channel: str, address: str | None, collected: str, expires: str, now: int, ends: str | None
) -> None:
    found = cut(
        channel=channel,
        address=address,
        region="FR",
        collected_at=day(collected),
        expires_at=day(expires),
        now=now,
    )
    assert (found.expires_at if found is not None else None) == (day(ends) if ends is not None else None)


def test_every_bound_is_dated_and_names_its_source() -> None:
    for each in bounds():
        assert each.source
        assert each.since >= day("2000-01-01")
        assert 0 < each.days <= 3_650


def grant(**more: object) -> dict[str, object]:
    return {
        "channel": "voice",
        "purpose": "promotions",
        "status": "given",
        "address": "06 39 98 00 11",
        "occurred_at": "2026-11-20T00:00:00Z",
        "expires_at": "2029-01-01T00:00:00Z",
        "evidence": {name: f"some {name}" for name in EVIDENCE},
        **more,
    }


def test_a_submission_is_recorded_with_its_bound() -> None:
    rules = ValidationRules(channels=("voice", "sms"), default_region="FR")
    found = validate(grant(), tenant="acme", rules=rules, now=NOW, read_time=rfc3339)
    assert found.cut is not None
    assert found.expires_at == found.cut.expires_at == day("2027-11-20")
    for each in (grant(channel="sms"), grant(address="+32 470 00 00 00"), grant(status="withdrawn")):
        assert validate(each, tenant="acme", rules=rules, now=NOW, read_time=rfc3339).cut is None


def test_the_answer_warns_of_it() -> None:
    (french,) = (each for each in bounds() if each.jurisdiction == "FR")
    recorded = RecordedDecision(
        decision_id="d",
        status="given",
        effective_at=NOW,
        recorded_at=NOW,
        address_keys=(),
        outcome=Outcome(effect=Effect.IN_EFFECT),
        without_effect=False,
        cut=ExpiryCut(bound=french, expires_at=day("2027-11-20")),
    )
    answer = rendering.to_recorded(recorded, ())
    assert not isinstance(answer.warnings, msgspec.UnsetType)
    (warning,) = answer.warnings
    assert warning.code == "expiry_cut"
    assert "2027-11-20T00:00:00Z" in warning.message
    assert "R.223-1" in warning.message
