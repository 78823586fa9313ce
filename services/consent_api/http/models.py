"""What is sent and answered, as JSON. The description in /openapi.json is made of these, and answers are encoded
from them, so that the two cannot drift apart. Times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from consent_api.domain import effects
from consent_api.domain.validation import LONGEST_EVIDENCE, LONGEST_REFERENCE
from consent_contracts.checks import CHANNEL
from consent_contracts.decisions import DELIVERY, FINDINGS, KEY_ID, STATUSES, UNDELIVERABLE
from consent_contracts.records import PURPOSE
from consent_contracts.verdict import UNKNOWN
from consent_http.problem_details import FieldViolation

# Patterns are for the description alone: what is sent is read by rules that name the cure.
REFERENCE = r"^[^@]*([1-9A-Za-z]|[^\u0000-\u007F])[^@]*$"
"""Of a person: no e-mail address, and more than zeros and dashes."""


def _exactly(pattern: str) -> dict[str, str]:
    return {"pattern": f"^(?:{pattern})$"}


Time = Annotated[str, Meta(description="RFC 3339 in UTC.", extra_json_schema={"format": "date-time"})]
Channel = Annotated[
    str,
    Meta(
        description="A channel of this installation, such as sms, email or voice.",
        extra_json_schema=_exactly(CHANNEL.pattern),
    ),
]
Purpose = Annotated[
    str,
    Meta(
        description="A slug of your taxonomy, or * for every purpose (refusals only).",
        extra_json_schema=_exactly(rf"\*|{PURPOSE.pattern}"),
    ),
]
RecordedPurpose = Annotated[
    str,
    Meta(
        description=f"A slug of your taxonomy, or * for every purpose. {DELIVERY}: no choice, but whether the address"
        " takes messages.",
        extra_json_schema=_exactly(rf"\*|{DELIVERY}|{PURPOSE.pattern}"),
    ),
]
Address = Annotated[
    str,
    Meta(
        description="Phone number or e-mail, as people write it; a number best as E.164.",
        extra_json_schema={"minLength": 1, "maxLength": 1016, "pattern": r"[0-9@]|[^\u0000-\u007F]"},
    ),
]
SubjectRef = Annotated[
    str,
    Meta(
        description="Your own stable reference of the person; no address.",
        extra_json_schema={"minLength": 1, "maxLength": LONGEST_REFERENCE, "pattern": REFERENCE},
    ),
]
EventId = Annotated[
    str,
    Meta(
        description="Yours, unique per event within evidence.source_system (left out: within the API key): a"
        " repetition is recognised.",
        extra_json_schema={"minLength": 1, "maxLength": LONGEST_REFERENCE},
    ),
]
Status = Annotated[
    str,
    Meta(
        description="Only given permits.",
        extra_json_schema={"enum": sorted(STATUSES)},
    ),
]
RecordedStatus = Annotated[
    str,
    Meta(
        description=f"Only given permits. Of {DELIVERY}: undeliverable or delivered.",
        extra_json_schema={"enum": sorted({*STATUSES, *FINDINGS})},
    ),
]
AddressKey = Annotated[
    str,
    Meta(
        description="Keyed hash of the address: the form in which it is stored and shown.",
        extra_json_schema=_exactly(rf"{KEY_ID}\.[A-Za-z0-9_-]{{43}}"),
    ),
]
Bulk = Annotated[bool, Meta(description="Recorded in bulk: delivered after live decisions. Never part of a verdict.")]
DecisionId = Annotated[str, Meta(description="The decision in the ledger.", extra_json_schema={"format": "uuid"})]
Effect = Annotated[
    str,
    Meta(
        description="in_effect: a refusal that no permission lifts at the addresses it reached; a permission by which"
        " one of them may be contacted now. superseded: another decision decides in its place. no_address: no address"
        " is known of the person on this channel; a refusal counts for those linked later.",
        extra_json_schema={"enum": [each.value for each in effects.Effect]},
    ),
]
SupersededBy = Annotated[
    str,
    Meta(
        description="The decision that decides in its place; itself, if it is a permission that has ended.",
        extra_json_schema={"format": "uuid"},
    ),
]
SupersededSince = Annotated[
    str,
    Meta(
        description="When the person chose that, or when a permission ended. Compare it with your own times: a clock or"
        " an offset may be wrong.",
        extra_json_schema={"format": "date-time"},
    ),
]


MoreAfter = Annotated[str, Meta(description="There are more: ask again with this as after, and with the same at.")]


def _evidence(description: str) -> Meta:
    return Meta(description=description, extra_json_schema={"minLength": 1, "maxLength": LONGEST_EVIDENCE})


class Evidence(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How the choice was made. A permission needs every field, a refusal none."""

    controller: Annotated[str, _evidence("To whom the consent was given, as the person read it.")] | None = None
    notice_id: Annotated[str, _evidence("The notice that was shown or read out.")] | None = None
    notice_version: Annotated[str, _evidence("Its version.")] | None = None
    notice_hash: Annotated[str, _evidence("Hash of its exact text: sha256:<hex>.")] | None = None
    notice_language: Annotated[str, _evidence("BCP 47.")] | None = None
    capture_method: Annotated[str, _evidence("web-form, call-recording, paper, ...")] | None = None
    source_system: Annotated[str, _evidence("The system that captured it.")] | None = None
    actor: Annotated[str, _evidence("data-subject, or the agent or process that recorded it.")] | None = None
    withdrawal_method: Annotated[str, _evidence("How the person was informed of how to withdraw.")] | None = None


class SubmittedDecision(Struct, kw_only=True, forbid_unknown_fields=True):
    """One choice. A refusal needs channel, purpose, status, and subject_ref or address; whatever else cannot be read is
    dropped and listed in the answer. A permission also needs occurred_at, expires_at and evidence, without a fault."""

    channel: Channel
    purpose: Purpose
    status: Status
    event_id: EventId | None = None
    subject_ref: (
        Annotated[SubjectRef, Meta(description="Your own stable reference of the person; no address.")] | None
    ) = None
    address: (
        Annotated[Address, Meta(description="Phone number or e-mail. Left out: the subject's addresses.")] | None
    ) = None
    occurred_at: Annotated[Time, Meta(description="When the person chose. Left out: now.")] | None = None
    expires_at: Annotated[Time, Meta(description="When a permission ends.")] | None = None
    evidence: Evidence | None = None


class SubmittedBatch(Struct, kw_only=True, forbid_unknown_fields=True):
    """Up to 1,000 decisions, recorded in their order and together: those that are refused do not hold up the rest."""

    decisions: Annotated[list[SubmittedDecision], Meta(min_length=1, max_length=1000)]
    bulk: (
        Annotated[
            bool,
            Meta(description="True: an import, delivered after what people choose now. Left out: true above 100."),
        ]
        | None
    ) = None


Dropped = Annotated[
    list[FieldViolation],
    Meta(description="What a refusal was recorded without, as it could not be read. Correct it at its origin."),
]


class DecisionWarning(Struct, kw_only=True):
    """What to look at, although the decision is recorded."""

    code: Annotated[
        str, Meta(extra_json_schema={"enum": ["no_address", "unknown_reference", "superseded", "expiry_cut"]})
    ]
    message: str


Warnings = Annotated[list[DecisionWarning], Meta(description="Left out where there is none.")]
EffectiveAt = Annotated[
    Time,
    Meta(
        description="What decisions are compared by: occurred_at, or the time of receipt. A permission whose sender"
        " may lift no refusal counts from the one it renews, or from 1970."
    ),
]


class DeadLetter(Struct, kw_only=True):
    """The place of a record that is a dead letter, and its reason: see `consent-relay dead-letters`."""

    reason: str
    topic: str
    partition: int
    offset: int


class WithEffect(Struct, kw_only=True, omit_defaults=True):
    """Whether a decision takes effect now, or which other one decides in its place."""

    effect: Effect
    superseded_by: SupersededBy | None = None
    superseded_since: SupersededSince | None = None


class Recorded(WithEffect, kw_only=True, omit_defaults=True):
    """Recorded, durably. ``outcome`` is ``repeated`` when the event was known: this is the first decision. Look at
    ``effect``: a withdrawal with a wrong time may be recorded and change nothing."""

    outcome: Annotated[str, Meta(extra_json_schema={"enum": ["recorded", "repeated"]})]
    decision_id: DecisionId
    effective_at: EffectiveAt
    recorded_at: Time
    addresses: Annotated[list[AddressKey], Meta(description="The addresses it reached.")]
    dropped: Dropped | UnsetType = UNSET
    warnings: Warnings | UnsetType = UNSET


class BatchResult(Struct, kw_only=True, omit_defaults=True):
    """What became of one decision. ``refused``: with errors, and not recorded; else as for a single decision."""

    outcome: Annotated[str, Meta(extra_json_schema={"enum": ["recorded", "repeated", "refused"]})]
    decision_id: DecisionId | None = None
    effective_at: EffectiveAt | None = None
    recorded_at: Time | None = None
    addresses: Annotated[list[AddressKey], Meta(description="10 at most.")] | None = None
    addresses_not_listed: int = 0
    dropped: Dropped | UnsetType = UNSET
    warnings: Warnings | UnsetType = UNSET
    effect: Effect | None = None
    superseded_by: SupersededBy | None = None
    superseded_since: SupersededSince | None = None
    errors: list[FieldViolation] | None = None


class BatchResponse(Struct, kw_only=True, omit_defaults=True):
    """One result for each decision, in the order in which they were sent; and whether they were recorded as bulk."""

    bulk: bool
    results: list[BatchResult]
    faults_not_listed: Annotated[
        int, Meta(description="An answer lists 100 faults, the first of each decision before the second of any.")
    ] = 0


class SpokenWithdrawal(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a person says in a call. Only the number is needed; whatever else cannot be read is left out and listed."""

    number: Annotated[
        str,
        Meta(
            description="The number that is to be called no more, as the switch or the agent writes it.",
            extra_json_schema={"minLength": 1, "maxLength": 1016, "pattern": "[0-9]"},
        ),
    ]
    everything: (
        Annotated[bool, Meta(description="True: no contact at all, on any channel. Left out: no calls.")] | None
    ) = None
    call_id: Annotated[str, Meta(description="Yours, kept as evidence; no number in it.", max_length=200)] | None = None
    agent: Annotated[str, Meta(description="Who heard it, kept as evidence.", max_length=200)] | None = None
    occurred_at: Annotated[Time, Meta(description="When it was said. Left out: now.")] | None = None


class ChannelWithdrawal(WithEffect, kw_only=True, omit_defaults=True):
    """What is recorded on one channel: of the number itself, or of the person it belongs to."""

    channel: Channel
    decision_id: DecisionId
    effective_at: EffectiveAt
    recorded_at: Time
    addresses: Annotated[list[AddressKey], Meta(description="10 at most.")]
    warnings: Warnings | UnsetType = UNSET


class NotWithdrawn(Struct, kw_only=True):
    """A channel on which nothing was recorded. unknown_person: the number is linked to no reference, so no other
    address is known; shared_number: it is linked to several; refused: its reference breaks a rule of today."""

    channel: Channel
    reason: Annotated[str, Meta(extra_json_schema={"enum": ["unknown_person", "shared_number", "refused"]})]


class SpokenRecorded(Struct, kw_only=True, omit_defaults=True):
    """Recorded, durably."""

    withdrawals: list[ChannelWithdrawal]
    not_withdrawn: Annotated[list[NotWithdrawn], Meta(description="Only with everything: true.")] = []
    dropped: Dropped | UnsetType = UNSET


class NamedAddress(Struct, kw_only=True, forbid_unknown_fields=True):
    """An address in the clear, in a body and never in a URL."""

    channel: Channel
    address: Address


class SubmittedAddresses(Struct, kw_only=True, forbid_unknown_fields=True):
    """Addresses of one subject."""

    addresses: Annotated[list[NamedAddress], Meta(min_length=1, max_length=100)]


class LinkedAddress(Struct, kw_only=True):
    """An address that is linked to the subject."""

    channel: Channel
    address_key: AddressKey
    linked_at: Time


class Addresses(Struct, kw_only=True):
    """All addresses that are linked to the subject now."""

    addresses: list[LinkedAddress]


class Verdict(Struct, kw_only=True):
    """May it be contacted? ``reason`` is a status, ``unknown`` (no decision), ``expired`` or ``undeliverable`` (no
    person refused; a hard bounce, and no delivery since)."""

    permitted: bool
    reason: Annotated[str, Meta(extra_json_schema={"enum": sorted({*STATUSES, UNDELIVERABLE, UNKNOWN})})]
    since: Time | None
    expires_at: Time | None
    decision_id: DecisionId | None


class Decision(Struct, kw_only=True):
    """A decision as recorded."""

    decision_id: DecisionId
    subject_ref: str | None
    channel: Channel
    purpose: RecordedPurpose
    status: RecordedStatus
    occurred_at: Annotated[Time | None, Meta(description="When the person chose, as it was stated.")]
    effective_at: EffectiveAt
    recorded_at: Time
    expires_at: Time | None
    source_system: str | None
    bulk: Bulk
    evidence: Evidence
    addresses: list[AddressKey]
    trace_id: Annotated[
        str | None,
        Meta(description="The trace (W3C) of the request or record that submitted it; null where it has none."),
    ]


class EvaluatedDecision(Decision, kw_only=True, omit_defaults=True):
    """A decision as recorded, with its effect now. Where an address is explained: its effect there."""

    effect: Effect
    superseded_by: SupersededBy | None = None
    superseded_since: SupersededSince | None = None


class EventResult(Struct, kw_only=True, omit_defaults=True):
    """What became of an event of one source. ``recorded``: with its decision and the effect of that now. ``refused``
    (by Kafka): with errors, and the dead letter that holds the record. Both, if it was sent again and recorded."""

    source: Annotated[str, Meta(description="Within which the id is unique: evidence.source_system, else the sender.")]
    outcome: Annotated[str, Meta(extra_json_schema={"enum": ["recorded", "refused"]})]
    decision_id: DecisionId | None = None
    effective_at: EffectiveAt | None = None
    recorded_at: Time | None = None
    effect: Effect | None = None
    superseded_by: SupersededBy | None = None
    superseded_since: SupersededSince | None = None
    refused_at: Time | None = None
    errors: list[FieldViolation] | None = None
    dead_letter: DeadLetter | None = None


class Event(Struct, kw_only=True):
    """What became of an event."""

    event_id: EventId
    results: list[EventResult]


class AddressState(Struct, kw_only=True):
    """An address that was linked then, with its verdicts by purpose; ``*``: purposes not named."""

    channel: Channel
    address_key: AddressKey
    linked_at: Time
    verdicts: dict[str, Verdict]


class SubjectState(Struct, kw_only=True):
    """A subject at a moment: the decisions that were current then, with their evidence, and what followed."""

    subject_ref: str
    at: Time
    decisions: Annotated[list[Decision], Meta(description="By decision_id, 100 at most.")]
    more_after: MoreAfter | None
    addresses: list[AddressState]


class SubjectHistory(Struct, kw_only=True):
    """All that a subject has ever decided, the superseded too, in the order in which it was recorded."""

    subject_ref: str
    decisions: Annotated[list[EvaluatedDecision], Meta(description="100 at most.")]
    more_after: Annotated[str | None, Meta(description="There are more: ask again with this as after.")]


class Receipt(Struct, kw_only=True):
    """One stage of one push: queued, accepted (the tool took it), effective (and it is in force there), failed (is
    tried again) or impossible. All times are of our clocks: a tool's own are not asked for."""

    receipt_id: str
    destination: str
    channel: Channel
    address_key: AddressKey
    target: Annotated[str | None, Meta(description="The destination's list, group or sender; null: none serves it.")]
    action: Annotated[str, Meta(extra_json_schema={"enum": ["suppress", "permit"]})]
    stage: Annotated[str, Meta(extra_json_schema={"enum": ["queued", "accepted", "effective", "failed", "impossible"]})]
    version: int
    recorded_at: Annotated[Time, Meta(description="When the decision was recorded: the ledger's clock.")]
    queued_at: Annotated[Time, Meta(description="When we found that the tool has to be informed.")]
    reached_at: Annotated[Time, Meta(description="When this stage was reached: when we had the tool's answer.")]
    attempts: int
    provider_reference: str | None
    detail: Annotated[
        str | None,
        Meta(
            description="Why, or what an accepted suppression binds at the tool: a group there, or all that it sends."
        ),
    ]


class Receipts(WithEffect, kw_only=True, omit_defaults=True):
    """The effect of a decision now, and the destinations that have received it, in the order of time."""

    decision_id: DecisionId
    bulk: Bulk
    receipts: Annotated[list[Receipt], Meta(description="100 at most.")]
    more_after: MoreAfter | None = None


class ExplainRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Why is this address (not) contactable? The address is in the body, never in a URL."""

    channel: Channel
    address: Address
    purpose: Purpose
    after: (
        Annotated[UUID, Meta(description="more_after of the answer before: the other decisions after it.")] | UnsetType
    ) = UNSET


class Explanation(Struct, kw_only=True):
    """The verdict, its decision with evidence and age, the other decisions that are current or superseded, and the
    receipts."""

    channel: Channel
    purpose: Purpose
    address_key: AddressKey
    verdict: Verdict
    deciding: Decision | None
    age_seconds: Annotated[float | None, Meta(description="Since the deciding decision took effect.")]
    others: Annotated[list[EvaluatedDecision], Meta(description="By decision_id, 100 at most.")]
    more_after: MoreAfter | None
    receipts: Annotated[list[Receipt], Meta(description="The newest, 100 at most.")]


class Review(Struct, kw_only=True, omit_defaults=True):
    """A reply whose meaning is in doubt, and what a person decided. Its address is paused until then."""

    review_id: DecisionId
    channel: Channel
    source: Annotated[str, Meta(description="The inbound source that the reply came by.")]
    rule: Annotated[str, Meta(description="Why it is in doubt.")]
    received_at: Time
    decision_ids: Annotated[list[DecisionId], Meta(description="The withdrawals that pause the address.")]
    reply: Annotated[str | None, Meta(description="The text. Gone once it is resolved.")] = None
    resolution: Annotated[str | None, Meta(description="withdrawal or not_a_withdrawal; absent: open.")] = None
    resolved_at: Time | None = None
    resolved_by: str | None = None
    restored: Annotated[list[DecisionId], Meta(description="Permissions that were given again.")] = []


class Reviews(Struct, kw_only=True, omit_defaults=True):
    """The replies that no person has resolved, the oldest first."""

    reviews: Annotated[list[Review], Meta(description="100 at most.")]
    more_after: MoreAfter | None = None


class ReviewResolution(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a person decides about a reply."""

    resolution: Annotated[
        Literal["withdrawal", "not_a_withdrawal"],
        Meta(description="not_a_withdrawal gives again the permissions that the reply has ended."),
    ]


SENT = (
    SubmittedDecision,
    SubmittedBatch,
    SpokenWithdrawal,
    SubmittedAddresses,
    ExplainRequest,
    ReviewResolution,
)
ANSWERED = (
    Recorded,
    SpokenRecorded,
    BatchResponse,
    EvaluatedDecision,
    Addresses,
    SubjectState,
    SubjectHistory,
    Receipts,
    Explanation,
    Event,
    Reviews,
    Review,
)
