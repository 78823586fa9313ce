"""An explanation in six sentences, in English and French."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consent_api.http.examples import EXAMPLE_TEXT, EXAMPLES, GRANT
from consent_api.http.explain_text import explain_text
from consent_api.http.models import Explanation
from consent_http.words import Language

EXAMPLE = EXAMPLES["Explanation"][0]


def explained(language: Language = "en", **changes: Any) -> list[str]:
    found = msgspec.convert({**EXAMPLE, **changes}, Explanation)
    lines = explain_text(found, language).splitlines()
    assert len(lines) == 6
    for line in lines:
        assert line.endswith(".")
    return lines


def receipt(destination: str, stage: str, reached_at: str = "2026-01-26T09:00:00Z", target: str | None = "t") -> Any:
    return {
        **EXAMPLE["receipts"][0],
        "destination": destination,
        "stage": stage,
        "reached_at": reached_at,
        "target": target,
    }


def test_the_example_is_what_its_json_says() -> None:
    assert explained() == EXAMPLE_TEXT.splitlines()


def test_in_french() -> None:
    assert explained("fr") == [
        "Cette adresse ne peut pas être contactée par SMS pour promotions (retrait).",
        "La personne customer-4711 a retiré son consentement pour promotions par SMS.",
        "Le choix compte à partir du 26 janvier 2026 à 07:59:58 UTC"
        " et a été enregistré le 26 janvier 2026 à 08:00:00 UTC dans la trace 4bf92f3577b34da6a3ce929d0e0e4736.",
        "Le moyen par lequel il a été recueilli n'est pas indiqué.",
        "Ces outils le savent : twilio-fr depuis le 26 janvier 2026 à 08:00:00 UTC.",
        "1 autre décision concerne cette adresse, dont 1 remplacée.",
    ]


def test_in_french_nothing_is_a_name_of_ours() -> None:
    given = {**EXAMPLE["deciding"], "status": "given", "evidence": GRANT["evidence"]}
    others = [{**EXAMPLE["others"][0], "effect": "in_effect"}]
    verdict = {**EXAMPLE["verdict"], "permitted": True, "reason": "given"}
    lines = explained("fr", channel="voice", deciding=given | {"channel": "voice"}, verdict=verdict, others=others)
    assert lines[0] == "Cette adresse peut être contactée par téléphone pour promotions (consentement donné)."
    assert "avec la mention d'information newsletter-signup (2026-03)" in lines[3]
    assert lines[5] == "1 autre décision concerne cette adresse, dont aucune remplacée."


@pytest.mark.parametrize("language", ["en", "fr"])
def test_an_address_without_decisions(language: Language) -> None:
    verdict = {**EXAMPLE["verdict"], "reason": "unknown", "since": None, "decision_id": None}
    lines = explained(language, verdict=verdict, deciding=None, others=[], receipts=[], age_seconds=None)
    assert ("(unknown)" if language == "en" else "(aucune décision connue)") in lines[0]


def test_a_permission_names_its_end_and_its_evidence() -> None:
    given = {**EXAMPLE["deciding"], "status": "given", "evidence": GRANT["evidence"]}
    given["expires_at"] = "2036-01-05T08:30:00Z"
    lines = explained(deciding=given, verdict={**EXAMPLE["verdict"], "permitted": True, "reason": "given"})
    assert lines[0] == "This address may be contacted by sms for promotions (given)."
    assert lines[2].endswith("it ends on 2036-01-05 at 08:30:00 UTC.")
    assert lines[3] == (
        "It was captured by web-form, in website, by the hand of data-subject,"
        " on the notice newsletter-signup (2026-03)."
    )


def test_a_refusal_of_every_purpose_on_an_address_by_itself() -> None:
    lines = explained(deciding={**EXAMPLE["deciding"], "subject_ref": None, "purpose": "*", "status": "objected"})
    assert lines[1] == "The person at this address objected to being contacted for every purpose on sms."


def test_a_tool_knows_once_every_target_of_it_has_it() -> None:
    receipts = [
        receipt("both", "accepted", "2026-01-26T09:00:00.500000Z", "t1"),
        receipt("both", "effective", "2026-01-26T09:00:01Z", "t1"),
        receipt("both", "accepted", "2026-01-26T09:00:00Z", "t2"),
        receipt("half", "accepted", target="t1"),
        receipt("half", "failed", target="t2"),
        receipt("never", "impossible", target=None),
        receipt("waits", "queued"),
    ]
    assert explained(receipts=receipts)[4] == (
        "These tools know it: both since 2026-01-26 at 09:00:00 UTC; not confirmed yet: half, waits;"
        " cannot take it: never."
    )
    assert explained(receipts=receipts[3:4] + receipts[4:5])[4] == (
        "No tool is known to have taken it; not confirmed yet: half."
    )
