"""What the API's routes about rights are sent and answer, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from consent_api.http.models import Address, Channel, DecisionId, SubjectRef, Time
from consent_api.rights.access.model import PersonalData
from consent_api.rights.texts import LONGEST

Text = Annotated[
    str,
    Meta(
        description="Kept in the clear: no address, no name.", extra_json_schema={"minLength": 1, "maxLength": LONGEST}
    ),
]
Kind = Annotated[
    str, Meta(extra_json_schema={"enum": ["access", "portability", "rectification", "erasure", "objection"]})
]


class NamedPerson(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A subject, an address on a channel, or both. An address alone is only itself: what is known of its subject is
    not shown to who proves an address that several share."""

    subject_ref: SubjectRef | None = None
    channel: Channel | None = None
    address: Address | None = None


class RightsRequestSubmission(NamedPerson, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A request by which a person exercises a right. An objection is recorded at once, for every purpose."""

    kind: Literal["access", "portability", "rectification", "erasure", "objection"]
    identity: Annotated[
        Literal["code", "operator"],
        Meta(description="By what the person's identity is proven: a code sent to the address, or your word."),
    ] = "operator"
    identity_note: (
        Annotated[
            Text,
            Meta(description="How: needed with operator. Kept in the clear: no address, no name."),
        ]
        | None
    ) = None


class RightsRequest(Struct, kw_only=True, omit_defaults=True):
    """A request, and by when it has to be answered: a month after it was opened, or two months later if extended."""

    request_id: DecisionId
    kind: Kind
    state: Annotated[str, Meta(extra_json_schema={"enum": ["open", "done", "refused"]})]
    overdue: bool
    opened_at: Time
    opened_by: str
    due_at: Time
    identity: Annotated[str, Meta(extra_json_schema={"enum": ["link", "code", "operator"]})]
    identity_note: str | None = None
    person: (
        Annotated[NamedPerson, Meta(description="Left out once the person is erased, and where it was sent.")] | None
    ) = None
    erasure_id: (
        Annotated[
            DecisionId,
            Meta(description="The erasure that carries it out, and resolves it: GET /v1/rights/erasures/{erasure_id}."),
        ]
        | None
    ) = None
    extended_at: Time | None = None
    extension_reason: str | None = None
    resolved_at: Time | None = None
    resolved_by: str | None = None
    reason: str | None = None
    certificate: Annotated[dict[str, Any], Meta(description="What was done, without personal data.")] | UnsetType = (
        UNSET
    )


class RightsRequests(Struct, kw_only=True, omit_defaults=True):
    """The open ones first, by due date; then those that are resolved."""

    requests: Annotated[list[RightsRequest], Meta(description="100 at most.")]
    more_after: Annotated[str, Meta(description="There are more: ask again with this as after.")] | None = None


class RightsResolution(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What became of a request. A refusal needs its reason: the person has a right to it (GDPR, article 12(4))."""

    state: Literal["done", "refused"]
    reason: Text | None = None


class RightsExtension(Struct, kw_only=True, forbid_unknown_fields=True):
    """Why a request takes longer; the person is to be informed within the first month (GDPR, article 12(3))."""

    reason: Text


class AccessRequest(NamedPerson, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Whose data, as which file. ``language``: of csv and json the controller's own words alone."""

    format: Literal["json", "csv", "html", "pdf"] = "json"
    language: Annotated[Literal["en", "fr"], Meta(description="Left out: the tenant's.")] | UnsetType = UNSET
    request_id: Annotated[UUID, Meta(description="The request that this answers, for the audit.")] | UnsetType = UNSET


class AuditEntry(Struct, kw_only=True, omit_defaults=True):
    """Who did what about persons' rights, and when."""

    entry_id: int
    at: Time
    who: Annotated[str, Meta(description="key:<id> of an API key, operator:<name> of a command, or person.")]
    act: Annotated[str, Meta(description="request_opened, data_exported, erasure_begun, ...")]
    object_id: Annotated[str, Meta(description="Of the request, or the keyed hash of the person.")] | None = None


class AuditEntries(Struct, kw_only=True, omit_defaults=True):
    """The newest first."""

    entries: Annotated[list[AuditEntry], Meta(description="100 at most.")]
    more_before: Annotated[int, Meta(description="There are more: ask again with this as before.")] | None = None


SENT = (RightsRequestSubmission, RightsResolution, RightsExtension, AccessRequest)
ANSWERED = (RightsRequest, RightsRequests, AuditEntries, PersonalData)
_ID = "019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18"
_OPEN = {
    "request_id": _ID,
    "kind": "access",
    "state": "open",
    "overdue": False,
    "opened_at": "2026-01-31T10:00:00.000000Z",
    "opened_by": "key:4f1c2b7a90de",
    "due_at": "2026-02-28T10:00:00.000000Z",
    "identity": "operator",
    "identity_note": "passport seen at the counter",
}
_PERSON = {"channel": "email", "address": "someone@example.com"}
EXAMPLES: dict[str, Sequence[object]] = {
    "RightsRequestSubmission": ({"kind": "access", **_PERSON, "identity_note": "passport seen at the counter"},),
    "RightsRequest": (_OPEN, {**_OPEN, "person": _PERSON}),
    "RightsRequests": ({"requests": [{**_OPEN, "person": _PERSON}]},),
    "RightsResolution": ({"state": "done"}, {"state": "refused", "reason": "the same was asked for last week"}),
    "RightsExtension": ({"reason": "several systems have to be searched"},),
    "AuditEntries": (
        {
            "entries": [
                {
                    "entry_id": 12,
                    "at": "2026-01-31T10:00:00.000000Z",
                    "who": "key:4f1c2b7a90de",
                    "act": "request_opened",
                    "object_id": _ID,
                }
            ]
        },
    ),
    "AccessRequest": ({"subject_ref": "customer-4711", "format": "pdf", "language": "fr"},),
    "PersonalData": (
        {
            "version": 1,
            "generated_at": "2026-01-31T10:00:00.000000Z",
            "controller": "Example SAS, Paris",
            "person": _PERSON,
            "held": False,
            "subjects": [],
            "addresses": [],
            "purposes": [],
            "pauses": [],
            "requests": [],
            "decided_by_another": [],
            "retained_proofs": [],
            "registers": [],
            "holds": [],
            "decisions": [],
            "reviews": [],
            "recipients": [],
        },
    ),
}
