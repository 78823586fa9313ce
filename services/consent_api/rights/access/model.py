"""What an export holds, as JSON: docs/personal-data.schema.json is made of these. Times are RFC 3339 in UTC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from consent_api.http.models import Address, Channel, DecisionId, Effect, Evidence, Purpose, Status, SubjectRef, Time

VERSION: Final = 1
SCHEMA_ID = "https://consent-relay.example/schemas/personal-data-1.json"

Unreadable = Annotated[str | None, Meta(description="Null: the address can no longer be read.")]


class Person(Struct, kw_only=True, omit_defaults=True):
    """Who the export is about, as it was asked for."""

    subject_ref: SubjectRef | None = None
    channel: Channel | None = None
    address: Address | None = None


class HeldSubject(Struct, kw_only=True):
    """A reference by which the controller knows the person."""

    subject_ref: str
    known_since: Time


class Current(Struct, kw_only=True):
    """Whether the person may be contacted at an address for a purpose now, and why."""

    purpose: Annotated[Purpose, Meta(description="*: every purpose that is not listed.")]
    permitted: bool
    reason: Annotated[str, Meta(description="The status of what decides, unknown (nothing does) or expired.")]
    since: Time | None
    expires_at: Time | None


class HeldAddress(Struct, kw_only=True, omit_defaults=True):
    """An address of the person, left out where it can no longer be read. ``unlinked_at``: it is not theirs any more,
    and what applies there is not shown."""

    channel: Channel
    address: Address | None = None
    known_since: Time
    linked_at: Time | None
    unlinked_at: Time | None
    current: list[Current]
    erased_at: Annotated[Time, Meta(description="The last erasure; what is held since is shown.")] | None = None
    bounced_at: Annotated[Time, Meta(description="When a message last came back for good.")] | None = None
    delivered_at: Annotated[Time, Meta(description="When a message last arrived, of late.")] | None = None
    code_at: Annotated[Time, Meta(description="When a code was last made for it, to let the person in.")] | None = None
    confirmed_at: Annotated[Time, Meta(description="When a message last confirmed a STOP there.")] | None = None


class RetainedProof(Struct, kw_only=True):
    """The proof of a permission that outlived an erasure, because a law says so."""

    channel: Channel
    purpose: Purpose
    effective_at: Time
    recorded_at: Time
    expires_at: Time | None
    notice: Annotated[dict[str, str], Meta(description="What refers to the text that was shown.")]
    ground: str
    kept_until: Time


class RegisterEntry(Struct, kw_only=True, omit_defaults=True):
    """A register of oppositions that had an address when it was last loaded."""

    register: Annotated[str, Meta(description="As the controller calls it.")]
    channel: Channel
    address: Address | None = None
    purpose: Purpose
    as_of: Annotated[Time, Meta(description="When the register was issued.")]


class HeldHold(Struct, kw_only=True):
    """Why the person's data had to be kept: a dispute, or a court."""

    reason: str
    set_at: Time
    until: Time | None
    released_at: Time | None


class DescribedPurpose(Struct, kw_only=True):
    """A purpose in the controller's own words."""

    purpose: Purpose
    title: str
    text: str


class HeldPause(Struct, kw_only=True):
    """A refusal until a day, and the permission that follows it."""

    channel: Channel
    purpose: Purpose
    paused_at: Time
    ends_at: Time
    permission_expires_at: Time


class HeldRequest(Struct, kw_only=True):
    """A request by which the person exercised a right."""

    request_id: str
    kind: str
    identity: str
    identity_note: str | None
    opened_at: Time
    due_at: Time
    extended_at: Time | None
    extension_reason: str | None
    state: str
    resolved_at: Time | None
    reason: str | None


class PassedOn(Struct, kw_only=True):
    """What a recipient was informed of about a decision, and how far that got."""

    recipient: Annotated[str, Meta(description="An account at a channel tool, as the controller calls it.")]
    channel: Channel
    target: Annotated[str | None, Meta(description="The list, group or sender there.")]
    action: Annotated[
        str, Meta(description="suppress: do not contact.", extra_json_schema={"enum": ["suppress", "permit"]})
    ]
    stage: Annotated[str, Meta(extra_json_schema={"enum": ["queued", "accepted", "effective", "failed", "impossible"]})]
    at: Time
    reference: Annotated[str | None, Meta(description="The recipient's own.")]
    detail: str | None


class HeldDecision(Struct, kw_only=True, omit_defaults=True):
    """A choice of the person, with its evidence, and its effect when the export was made."""

    decision_id: DecisionId
    channel: Channel
    purpose: Purpose
    status: Status
    stated_at: Annotated[Time | None, Meta(description="When the person chose, as it was stated.")]
    effective_at: Time
    recorded_at: Time
    expires_at: Time | None
    effect: Effect
    superseded_by: str | None
    superseded_since: Time | None
    event_source: str | None
    event_id: str | None
    source_system: str | None
    evidence: Evidence
    addresses: Annotated[list[Unreadable], Meta(description="Those of the person that it reached.")]
    passed_on: list[PassedOn]
    renewal_asked_at: Annotated[Time, Meta(description="When its renewal was asked for.")] | None = None


class DecidedByAnother(Struct, kw_only=True, omit_defaults=True):
    """A choice of another person who uses the same address, as far as it decides what applies there now."""

    channel: Channel
    address: Address | None = None
    purpose: Purpose
    status: Status
    effective_at: Time
    expires_at: Time | None
    passed_on: list[PassedOn]


class HeldReview(Struct, kw_only=True):
    """A reply of the person whose meaning was in doubt. Its text is deleted once it is resolved."""

    channel: Channel
    source: str
    received_at: Time
    reply: str | None
    resolution: str | None
    resolved_at: Time | None


class Recipient(Struct, kw_only=True):
    """Who the person's choices were passed on to."""

    recipient: str
    channel: Channel
    first_at: Time
    last_at: Time


class Head(Struct, kw_only=True):
    """What does not grow with the number of decisions. ``held``: false where nothing is held about the person, but for
    the requests."""

    version: Annotated[Literal[1], Meta(extra_json_schema={"type": "integer"})]
    generated_at: Time
    controller: str | None
    person: Person
    held: bool
    subjects: list[HeldSubject]
    addresses: list[HeldAddress]
    purposes: list[DescribedPurpose]
    pauses: list[HeldPause]
    requests: list[HeldRequest]
    decided_by_another: list[DecidedByAnother]
    retained_proofs: list[RetainedProof]
    registers: list[RegisterEntry]
    holds: list[HeldHold]


class Tail(Struct, kw_only=True):
    """What is known once all decisions are read."""

    reviews: list[HeldReview]
    recipients: list[Recipient]


class PersonalData(Head, kw_only=True):
    """All that is held about a person: where it came from, what applies, who was informed (GDPR, articles 15, 20)."""

    decisions: list[HeldDecision]
    reviews: list[HeldReview]
    recipients: list[Recipient]


def schema() -> Mapping[str, Any]:
    """The JSON Schema (2020-12) of an export."""
    (root,), definitions = msgspec.json.schema_components([PersonalData], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Personal data held by Consent Relay",
        **root,
        "$defs": {
            name: {**each, "description": " ".join(each["description"].split())} for name, each in definitions.items()
        },
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))  # noqa: T201
