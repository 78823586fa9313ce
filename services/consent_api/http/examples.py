"""An example of each body, by the name of its schema. A test sends the requests and reads the answers as described."""

from typing import Any

ADDRESS = "06 39 98 00 01"
_KEY = "h1.q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"
_WITHDRAWAL_ID = "019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18"
_GRANT_ID = "019ac2f0-11a4-7b3e-8c07-2d94e1b60f5a"
_RECEIPT_ID = "5c0a8f1e-6d27-5b49-a3f8-90b7d2c4e613"
_CHOSEN_AT, _RECORDED_AT, _SENT_AT = (
    "2026-01-26T07:59:58.000000Z",
    "2026-01-26T08:00:00.000000Z",
    "2026-01-26T08:00:00.700000Z",
)

_REVIEW: dict[str, Any] = {
    "review_id": _WITHDRAWAL_ID,
    "channel": "sms",
    "source": "twilio-fr",
    "rule": "phrase in doubt",
    "received_at": _RECORDED_AT,
    "decision_ids": [_WITHDRAWAL_ID],
    "reply": "trop de messages",
}
EVIDENCE: dict[str, Any] = {
    "controller": "Acme SAS",
    "notice_id": "newsletter-signup",
    "notice_version": "2026-03",
    "notice_hash": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "notice_language": "fr-FR",
    "capture_method": "web-form",
    "source_system": "website",
    "actor": "data-subject",
    "withdrawal_method": "reply STOP, or the page My choices",
}
WITHDRAWAL: dict[str, Any] = {
    "subject_ref": "customer-4711",
    "channel": "sms",
    "address": ADDRESS,
    "purpose": "promotions",
    "status": "withdrawn",
    "event_id": "web-20260126-000017",
    "occurred_at": "2026-01-26T08:59:58+01:00",
}
GRANT: dict[str, Any] = {
    "subject_ref": "customer-4711",
    "channel": "sms",
    "address": ADDRESS,
    "purpose": "promotions",
    "status": "given",
    "event_id": "web-20260105-000004",
    "occurred_at": "2026-01-05T09:30:00+01:00",
    "expires_at": "2036-01-05T09:30:00+01:00",
    "evidence": EVIDENCE,
}
_DROPPED = {
    "field": "/occurred_at",
    "detail": "unreadable_time",
    "cure": "send RFC 3339 with an offset, such as 2026-01-05T09:30:00Z",
}
_RECORDED = {
    "outcome": "recorded",
    "effect": "in_effect",
    "decision_id": _WITHDRAWAL_ID,
    "effective_at": _CHOSEN_AT,
    "recorded_at": _RECORDED_AT,
    "addresses": [_KEY],
}
_DECISION: dict[str, Any] = {
    "decision_id": _WITHDRAWAL_ID,
    "subject_ref": "customer-4711",
    "channel": "sms",
    "purpose": "promotions",
    "status": "withdrawn",
    "occurred_at": _CHOSEN_AT,
    "effective_at": _CHOSEN_AT,
    "recorded_at": _RECORDED_AT,
    "expires_at": None,
    "source_system": None,
    "bulk": False,
    "evidence": {},
    "addresses": [_KEY],
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
}
_OTHER = {
    **_DECISION,
    "decision_id": _GRANT_ID,
    "status": "given",
    "occurred_at": "2026-01-05T08:30:00.000000Z",
    "effective_at": "2026-01-05T08:30:00.000000Z",
    "recorded_at": "2026-01-05T08:30:01.000000Z",
    "expires_at": "2036-01-05T08:30:00.000000Z",
    "source_system": "website",
    "evidence": EVIDENCE,
    "effect": "superseded",
    "superseded_by": _WITHDRAWAL_ID,
    "superseded_since": _CHOSEN_AT,
}
_VERDICT = {
    "permitted": False,
    "reason": "withdrawn",
    "since": _CHOSEN_AT,
    "expires_at": None,
    "decision_id": _WITHDRAWAL_ID,
}
_LINKED = {"channel": "sms", "address_key": _KEY, "linked_at": "2026-01-05T08:30:01.000000Z"}
_RECEIPT = {
    "receipt_id": _RECEIPT_ID,
    "destination": "twilio-fr",
    "channel": "sms",
    "address_key": _KEY,
    "target": "MG5f0c",
    "action": "suppress",
    "stage": "accepted",
    "version": 1769414400650000,
    "recorded_at": _RECORDED_AT,
    "queued_at": "2026-01-26T08:00:00.200000Z",
    "reached_at": _SENT_AT,
    "attempts": 1,
    "provider_reference": "RQ31a4",
    "detail": None,
}

EXAMPLE_TEXT = """\
This address may not be contacted by sms for promotions (withdrawn).
The person customer-4711 withdrew the consent for promotions on sms.
The choice counts from 2026-01-26 at 07:59:58 UTC and was recorded on 2026-01-26 at 08:00:00 UTC\
 in trace 4bf92f3577b34da6a3ce929d0e0e4736.
By which means it was captured is not stated.
These tools know it: twilio-fr since 2026-01-26 at 08:00:00 UTC.
1 other decision concerns this address, 1 of them superseded.
"""
"""Of an explanation as text: it is that of EXAMPLES in English."""

EXAMPLES: dict[str, list[Any]] = {
    "SubmittedDecision": [
        WITHDRAWAL,
        GRANT,
        {"channel": "sms", "address": ADDRESS, "purpose": "*", "status": "objected"},
    ],
    "SubmittedBatch": [{"decisions": [GRANT, WITHDRAWAL], "bulk": False}],
    "SpokenWithdrawal": [
        {"number": ADDRESS},
        {"number": ADDRESS, "everything": True, "call_id": "call-4711", "agent": "agent 12"},
    ],
    "SpokenRecorded": [
        {
            "withdrawals": [
                {
                    "channel": "voice",
                    **{name: value for name, value in _RECORDED.items() if name != "outcome"},
                    "effective_at": _RECORDED_AT,
                }
            ]
        }
    ],
    "SubmittedAddresses": [{"addresses": [{"channel": "sms", "address": ADDRESS}]}],
    "ExplainRequest": [{"channel": "sms", "address": ADDRESS, "purpose": "promotions"}],
    "Recorded": [
        _RECORDED,
        {**_RECORDED, "dropped": [_DROPPED]},
        {
            **_RECORDED,
            "effect": "no_address",
            "addresses": [],
            "warnings": [
                {
                    "code": "no_address",
                    "message": "It reached no address: none of this person is known on the channel. Send the address,"
                    " or link it.",
                }
            ],
        },
    ],
    "BatchResponse": [
        {
            "bulk": False,
            "results": [
                {**_RECORDED, "decision_id": _GRANT_ID},
                _RECORDED,
                {
                    "outcome": "refused",
                    "errors": [
                        {
                            "field": "/decisions/2/channel",
                            "detail": "unknown_channel",
                            "cure": "send one of email, sms, voice",
                        }
                    ],
                },
            ],
        }
    ],
    "EvaluatedDecision": [{**_DECISION, "effect": "in_effect"}],
    "SubjectHistory": [
        {
            "subject_ref": "customer-4711",
            "decisions": [_OTHER, {**_DECISION, "effect": "in_effect"}],
            "more_after": None,
        }
    ],
    "Event": [
        {
            "event_id": "web-20260126-000017",
            "results": [
                {
                    "source": "website",
                    "outcome": "recorded",
                    "decision_id": _WITHDRAWAL_ID,
                    "effective_at": _CHOSEN_AT,
                    "recorded_at": _RECORDED_AT,
                    "effect": "in_effect",
                },
                {
                    "source": "crm",
                    "outcome": "refused",
                    "refused_at": _RECORDED_AT,
                    "errors": [
                        {"field": "/channel", "detail": "unknown_channel", "cure": "send one of email, sms, voice"}
                    ],
                    "dead_letter": {
                        "reason": "invalid",
                        "topic": "consent.inbound.v1",
                        "partition": 2,
                        "offset": 41,
                    },
                },
            ],
        }
    ],
    "Addresses": [{"addresses": [_LINKED]}],
    "SubjectState": [
        {
            "subject_ref": "customer-4711",
            "at": "2026-01-26T08:10:00.000000Z",
            "decisions": [_DECISION],
            "more_after": None,
            "addresses": [{**_LINKED, "verdicts": {"promotions": _VERDICT}}],
        }
    ],
    "ReviewResolution": [{"resolution": "withdrawal"}],
    "Reviews": [{"reviews": [_REVIEW]}],
    "Review": [
        {
            **{name: value for name, value in _REVIEW.items() if name != "reply"},
            "resolution": "not_a_withdrawal",
            "resolved_at": "2026-01-26T09:15:00.000000Z",
            "resolved_by": "api-key 4f1c",
            "restored": [_GRANT_ID],
        }
    ],
    "Receipts": [{"decision_id": _WITHDRAWAL_ID, "bulk": False, "effect": "in_effect", "receipts": [_RECEIPT]}],
    "Explanation": [
        {
            "channel": "sms",
            "purpose": "promotions",
            "address_key": _KEY,
            "verdict": _VERDICT,
            "deciding": _DECISION,
            "age_seconds": 602.0,
            "others": [_OTHER],
            "more_after": None,
            "receipts": [_RECEIPT],
        }
    ],
}
