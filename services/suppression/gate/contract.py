"""What the gate is asked and what it answers, on the wire."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from consent_client import Answer
from consent_contracts.checks import CHANNEL
from consent_contracts.decisions import KEY_ID, STATUSES

MOST_ADDRESSES = 10_000
MOST_BYTES = 4 * 1024 * 1024

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Patterns of what is sent are for the description alone: an address that cannot be read is denied by itself.
Time = Annotated[datetime, Meta(tz=True)]
Addresses = Annotated[
    list[Annotated[str, Meta(extra_json_schema={"pattern": r"[0-9@]|[^\u0000-\u007F]"})]],
    Meta(
        max_length=MOST_ADDRESSES,
        description="addresses in the clear, as people write them; phone numbers are best sent as E.164",
    ),
]
AddressKeys = Annotated[
    list[Annotated[str, Meta(extra_json_schema={"pattern": rf"^{KEY_ID}\.[A-Za-z0-9_-]{{43}}$"})]],
    Meta(max_length=MOST_ADDRESSES, description="address keys, as they are in our topics"),
]
REASONS = (
    *sorted(STATUSES),
    *("allow_once", "undeliverable", "unknown", "future_dated", "stale", "hole", "unreadable", "unavailable"),
    *("invalid_address",),
)
CONFIRMATION: Final = "opt-out-confirmation"
"""The purpose of the one text that a token lets through: of no other, so of no marketing."""
ALLOW_ONCE: Final = "allow_once"
REFUSE: Final = "refuse"
DENY: Final = "deny"


class CheckRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """May these addresses be contacted on this channel for this purpose? Give addresses or address_keys; the other may
    be empty."""

    channel: Annotated[
        str,
        Meta(
            description="sms, email, voice or another configured channel",
            examples=["sms"],
            extra_json_schema={"pattern": f"^{CHANNEL.pattern}$"},
        ),
    ]
    purpose: Annotated[
        str,
        Meta(
            # The end of the text, not the end of its last line: $ alone lets a line feed pass.
            pattern=r"^(\*|[a-z0-9][a-z0-9_-]{0,63})$(?!\n)",
            description="a purpose of the tenant's taxonomy, or * for any without a decision",
            examples=["newsletter"],
        ),
    ]
    addresses: Addresses | UnsetType = UNSET
    address_keys: AddressKeys | UnsetType = UNSET
    tenant: Annotated[str, Meta(description="may be left out: the API key's tenant")] | UnsetType = UNSET
    when_stale: Annotated[
        Literal["refuse", "deny"],
        Meta(
            description="what is answered where the list cannot be answered from (stale, hole, unavailable): the whole"
            " request with 503 (refuse, also where this is left out), or each address as not permitted (deny)"
        ),
    ] = REFUSE
    allow_once: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=200,
                description="a token of the API's /v1/allow-once, with one address and the purpose"
                f" {CONFIRMATION}: the one text that confirms a STOP is permitted though the address is refused. The"
                " token is then used up",
            ),
        ]
        | UnsetType
    ) = UNSET


class Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer for one address. Contact only if `permitted` is true."""

    index: Annotated[int, Meta(description="of the address in the request, from 0")]
    permitted: bool
    reason: Annotated[
        str,
        Meta(
            description="given, refused, withdrawn, objected, expired, invalidated: the deciding decision's status; "
            "allow_once: refused, and permitted for this one text by its token; "
            "undeliverable: no person refused, and a tool reported a hard bounce, and no delivery since; "
            "unknown: no decision; future_dated; stale, hole, unreadable, unavailable: the gate cannot know, so no "
            "(stale: the list or a register of oppositions is too old); invalid_address: see detail",
            extra_json_schema={"enum": list(REASONS)},
        ),
    ]
    since: Time | None
    decision_id: Annotated[str | None, Meta(extra_json_schema={"format": "uuid"})]
    as_of: Annotated[
        Time | None,
        Meta(
            description="every decision that was answered as recorded before this moment is considered; null: not known"
        ),
    ]
    valid_until: Annotated[
        Time,
        Meta(
            description="until when the answer may be used, 60 s ahead at most; ask again after it. In the past where "
            "the gate cannot know"
        ),
    ]
    expires_at: Annotated[Time | None, Meta(description="when the deciding permission ends, or has ended")] = None
    detail: str | None = None


class CheckResponse(msgspec.Struct, kw_only=True):
    """One result for each address, in the order of the request."""

    results: list[Result]


EXAMPLES: dict[str, list[Any]] = {
    "CheckRequest": [
        {"channel": "sms", "purpose": "promotions", "addresses": ["+33 6 39 98 00 01", "+33639980002"]},
        {
            "channel": "sms",
            "purpose": "promotions",
            "address_keys": ["h1.q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"],
        },
    ],
    "CheckResponse": [
        {
            "results": [
                {
                    "index": 0,
                    "permitted": False,
                    "reason": "withdrawn",
                    "since": "2026-01-26T07:59:58Z",
                    "decision_id": "019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18",
                    "as_of": "2026-01-26T08:10:00.500000Z",
                    "valid_until": "2026-01-26T08:10:30.500000Z",
                },
                {
                    "index": 1,
                    "permitted": False,
                    "reason": "unknown",
                    "since": None,
                    "decision_id": None,
                    "as_of": "2026-01-26T08:10:00.500000Z",
                    "valid_until": "2026-01-26T08:10:30.500000Z",
                },
            ]
        }
    ],
}
"""Of each body, by the name of its schema."""

REQUEST = msgspec.json.Decoder(CheckRequest)
RESPONSE = msgspec.json.Encoder()


def results_of(answers: Iterable[Answer]) -> list[Result]:
    times: dict[int, datetime] = {}  # Few different ones in a call, but for `since`.

    def time(micros: int) -> datetime:
        return times.get(micros) or times.setdefault(micros, _datetime(micros))

    return [
        Result(
            index=index,
            permitted=answer.permitted,
            reason=answer.reason,
            since=None if answer.since is None else _datetime(answer.since),
            decision_id=answer.decision_id,
            as_of=None if answer.as_of is None else time(answer.as_of),
            valid_until=time(answer.valid_until),
            expires_at=None if answer.expires_at is None else _datetime(answer.expires_at),
            detail=answer.detail,
        )
        for index, answer in enumerate(answers)
    ]


def _datetime(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
