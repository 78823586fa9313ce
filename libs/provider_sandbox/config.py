"""What the sandboxed accounts are and how tight their limits are.

The defaults are the limits that the providers document; where a provider publishes none, the field says `assumed`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `calls` in any window of `seconds`; 0 calls means no limit."""

    calls: int
    seconds: float


class Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A log-normal answer time given by its median and its 99th percentile, in milliseconds."""

    p50_ms: float = 10.0
    p99_ms: float = 60.0


class TwilioAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Twilio account; with no `senders` named, every well-formed Messaging Service SID or number is known."""

    account_sid: str = "AC00000000000000000000000000000000"
    auth_token: str = "sandbox-twilio-token"  # noqa: S105 - opens nothing but the sandbox
    status: str = "active"
    """Or suspended, closed."""
    api_key_sid: str = "SK00000000000000000000000000000000"
    api_key_secret: str = "sandbox-twilio-secret"  # noqa: S105
    """Of a standard API key: it may not read the account."""
    api_key_reads_services: bool = True
    """False: of a restricted API key, without the permission to read Messaging Services."""
    consent_api: bool = True
    """False: Twilio has not opened the Consent API for this account."""
    senders: tuple[str, ...] = ()
    items_per_call: int = 25
    """Documented."""
    limit: Limit = Limit(calls=100, seconds=60)
    """Documented."""
    latency: Latency = Latency()


class SendGridAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SendGrid account, its API key and its unsubscribe groups, by id."""

    api_key: str = "SG.sandbox"
    scopes: tuple[str, ...] = (
        "asm.groups.read",
        "asm.groups.suppressions.create",
        "asm.groups.suppressions.delete",
        "asm.groups.suppressions.read",
        "asm.suppressions.global.create",
        "asm.suppressions.global.delete",
        "asm.suppressions.global.read",
    )
    """Of the key."""
    groups: dict[str, str] = msgspec.field(
        default_factory=lambda: {"101": "newsletter", "102": "promotions", "103": "survey"}
    )
    emails_per_call: int = 1_000
    """Assumed: SendGrid publishes none."""
    limit: Limit = Limit(calls=600, seconds=60)
    """Assumed: SendGrid publishes none for these calls."""
    latency: Latency = Latency()


class GenesysOrg(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Genesys Cloud organisation, its OAuth client and its DNC lists, by id."""

    client_id: str = "sandbox-genesys-client"
    client_secret: str = "sandbox-genesys-secret"  # noqa: S105
    token_seconds: float = 86_400
    lists: dict[str, str] = msgspec.field(
        default_factory=lambda: {
            "00000000-0000-4000-8000-000000000001": "do not call",
            "00000000-0000-4000-8000-000000000002": "no promotions",
        }
    )
    permissions: tuple[str, ...] = ("outbound:dncList:view", "outbound:dnc:edit", "outbound:campaign:view")
    """Of the client's role."""
    source_types: dict[str, str] = msgspec.field(default_factory=dict)
    """Of lists that are not internal (`rds`)."""
    contact_methods: dict[str, str] = msgspec.field(default_factory=dict)
    """Of lists that are not for `Phone`: Any, Email, WhatsApp."""
    campaigns: dict[str, tuple[str, ...]] | None = None
    """The lists that each campaign names. None: one names all."""
    numbers_per_list: int = 1_000_000
    """As reported by a third party, 2026-03."""
    numbers_per_organization: int = 2_000_000
    """As reported by a third party, 2026-03."""
    additions_per_call: int = 1_000
    """Assumed: the specification has 413 for a body that is too large, and no number."""
    removals_per_call: int = 250
    """Assumed."""
    limit: Limit = Limit(calls=300, seconds=60)
    """Documented: by token."""
    latency: Latency = Latency()


class WebhookReceivers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The receivers under /webhook; any of `secrets` may sign, so that a rotation can be tried."""

    secrets: tuple[str, ...] = ("whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC0wMDAwMDE=",)
    tolerance_seconds: float = 300
    remembered_ids: int = 200_000
    limit: Limit = Limit(calls=0, seconds=60)
    latency: Latency = Latency()


class SandboxConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting of the sandbox."""

    twilio: TwilioAccount = TwilioAccount()
    sendgrid: SendGridAccount = msgspec.field(default_factory=SendGridAccount)
    genesys: GenesysOrg = msgspec.field(default_factory=GenesysOrg)
    webhook: WebhookReceivers = WebhookReceivers()
    logged_calls: int = 50_000
    control_token: str = ""
    """The password (user `control`) of /_control, /_state and /_requests. Empty: `consent-relay sandbox` makes one up,
    and an application within a test asks for none."""


def load(path: Path | None) -> SandboxConfig:
    """Read a TOML file, with the defaults for what it leaves out; ValueError names the wrong field."""
    if path is None:
        return SandboxConfig()
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), SandboxConfig)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from error
