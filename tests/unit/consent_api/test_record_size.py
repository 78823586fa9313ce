"""No accepted decision makes a record that a broker refuses for its size: its row would hold back its partition."""

from __future__ import annotations

from typing import Any

import pytest

from consent_api.domain.addresses import Address
from consent_api.domain.fan_out import PublishableDecision
from consent_api.domain.validation import EVIDENCE, LONGEST_EVIDENCE, LONGEST_REFERENCE, ValidationRules, validate
from consent_api.errors import SubmissionInvalidError
from consent_api.ledger.lanes import Lane
from consent_api.ledger.outbox_messages import ChangeMessages
from consent_contracts.codec import Codec
from consent_contracts.decisions import Decision
from consent_contracts.topics import Topics
from consent_privacy.keyring import Key, Keyring

RULES = ValidationRules(channels=("sms", "email", "c" * 32), default_region="FR")
NOW = 1_780_000_000_000_000
LARGEST = 16 * 1024
"""Bytes; the broker's limit is 1 MiB by default, and a topic's is never set lower than that."""
WIDEST = "\U0001f4f5"
"""Four bytes in UTF-8, as many as a character can have."""


class OneId:
    def id_of(self, subject: str, schema_text: str) -> int:
        return 1

    def schemas_of(self, subject: str) -> dict[int, str]:
        return {}


def test_the_largest_decision_that_is_accepted_makes_a_small_record() -> None:
    tenant, channel, purpose = "t" * 64, "email", "p" * 64
    address = f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 55}.example.com"
    fields: dict[str, Any] = {
        "subject_ref": WIDEST * LONGEST_REFERENCE,
        "event_id": WIDEST * LONGEST_REFERENCE,
        "address": address,
        "channel": channel,
        "purpose": purpose,
        "status": "withdrawn",
        "evidence": dict.fromkeys(EVIDENCE, WIDEST * LONGEST_EVIDENCE),
    }
    accepted = validate(fields, tenant=tenant, rules=RULES, now=NOW)
    assert accepted.address is not None
    keyring = Keyring(
        seal_keys=[Key(id="s" * 16, secret=bytes(32))],
        hash_keys={tenant: [Key(id="h" * 16, secret=bytes(32), primary=True)]},
    )
    key = keyring.address_key(tenant, channel, accepted.address)
    choice = PublishableDecision(
        decision=Decision(
            decision_id="01980000-0000-7000-8000-000000000000",
            subject_ref=accepted.subject_ref,
            purpose=accepted.purpose,
            status=accepted.status,
            effective_at=accepted.effective_at,
            recorded_at=accepted.recorded_at,
            expires_at=2**62,
        ),
        spreads=True,
        source_system=accepted.source_system,
    )
    sealed = {key: keyring.seal(key, accepted.address)}
    outbox = ChangeMessages(codec=Codec(OneId()), topics=Topics(), partitions=4)
    (message,) = outbox.changes(choice, Address(address_id=1, tenant=tenant, channel=channel, sealed=sealed), Lane.BULK)
    assert len(message.key) + len(message.value) + len(message.headers) < LARGEST


@pytest.mark.parametrize("address", [f"{'a' * 65}@example.com", f"a@{'b' * 300}.example.com", "a" * 100_000])
def test_longer_addresses_are_refused(address: str) -> None:
    fields = {"address": address, "channel": "email", "purpose": "survey", "status": "withdrawn"}
    with pytest.raises(SubmissionInvalidError):
        validate(fields, tenant="acme", rules=RULES, now=NOW)
