"""What a provider's webhook is, and what is read from it: the same for every provider. Pure."""

from __future__ import annotations

import hmac
import json
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from consent_api.domain.validation import rfc3339
from consent_api.errors import RefusedWebhook, WebhookRefusedError
from consent_privacy.addresses import PHONE_CHANNELS

MOST_FIELDS = 500
"""Of a form: providers send some twenty."""
CLOCK_SKEW_SECONDS = 300
NEVER_MAIL = frozenset({"email"})
"""`Provider.not_on` of one that reports telephone numbers."""
NEVER_PHONES = PHONE_CHANNELS
"""`Provider.not_on` of one that reports e-mail addresses."""


class Kind(StrEnum):
    """What has happened, as far as it matters here."""

    REPLY = "reply"
    """A person has written; what they mean is read from the text."""
    STOP = "stop"
    """A person has written, and the provider itself has read it as STOP."""
    OPT_OUT = "opt_out"
    """An address has left a list, or all: by a person, or by a push of ours."""
    COMPLAINT = "complaint"
    OPT_IN = "opt_in"
    HARD_BOUNCE = "hard_bounce"
    SOFT_BOUNCE = "soft_bounce"
    DELIVERED = "delivered"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundEvent:
    """One thing that a provider reports. ``address`` as the provider writes it; ``occurred_at`` in micros.

    ``id``: the provider's own, without an address. None where it has none: a hash of the event serves. ``text``: of a
    reply what was written, else what distinguishes the event from others.
    """

    kind: Kind
    address: str = field(repr=False)
    occurred_at: int | None = None
    id: str | None = None
    text: str | None = field(default=None, repr=False)
    target: str | None = None
    """The provider's own object that was left: a group, a list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """A request as it came. Header names are lower case."""

    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What the installation knows of the sender: its secrets (several while one is replaced), the public URL that the
    provider calls, the topics it may speak for, how a certificate is fetched, and which address on the source's channel
    a token of a link of ours is for."""

    secrets: Sequence[str] = field(repr=False)
    url: str = ""
    topics: frozenset[str] = frozenset()
    fetch: Callable[[str], bytes] = field(repr=False, default=lambda _: b"")
    open_link: Callable[[str], str | None] = field(repr=False, default=lambda _: None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload:
    """The events of one genuine request. ``unreadable``: parts that are none, which stop no other. ``once``: what this
    request alone may use. ``confirm``: a URL that the provider asks to be opened."""

    events: Sequence[InboundEvent] = ()
    unreadable: int = 0
    once: str | None = None
    confirm: str | None = None


Read = Callable[[Webhook, Account, int], Payload]
"""The payload of a request at a moment (seconds since the epoch). WebhookRefusedError when it is not genuine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """How one provider is spoken to.

    ``again``: the status after which it sends again. ``unsigned``: the status for a request without a signature, where
    that is not 403. ``answer``: the body of a 200. ``probed``: it asks by GET whether the URL is there.
    ``longest_body`` in bytes: what is longer is not read. ``in_thread``: reading one may take long, or fetches.
    """

    read: Read
    again: int = 503
    unsigned: int = 403
    answer: bytes = b""
    media_type: str = "text/plain"
    probed: bool = False
    longest_body: int = 65_536
    in_thread: bool = False
    requires: frozenset[str] = frozenset()
    """Members of a source that it cannot do without: url, topics."""
    not_on: frozenset[str] = frozenset()
    """Channels whose addresses are never in its events: each opt-out would be lost there."""


def equal(given: str, expected: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))


def any_equal(given: str, expected: Iterable[str]) -> bool:
    """In a time that does not depend on which of them it is."""
    found = False
    for each in expected:
        found |= equal(given, each)
    return found


def missing(name: str) -> WebhookRefusedError:
    return WebhookRefusedError(RefusedWebhook.UNSIGNED, field=name, cure="sign the webhook: docs/inbound-webhooks.md")


def forged(name: str) -> WebhookRefusedError:
    cure = "sign with the secret that this source has: docs/inbound-webhooks.md"
    return WebhookRefusedError(RefusedWebhook.BAD_SIGNATURE, field=name, cure=cure)


def outdated(name: str) -> WebhookRefusedError:
    return WebhookRefusedError(
        RefusedWebhook.OUTSIDE_WINDOW, field=name, cure="send it within the provider's time window, by a correct clock"
    )


def unreadable(name: str, cure: str) -> WebhookRefusedError:
    return WebhookRefusedError(RefusedWebhook.UNREADABLE, field=name, cure=cure)


def header(webhook: Webhook, name: str) -> str:
    value = webhook.headers.get(name, "").strip()
    if not value:
        raise missing(name)
    return value


def form(webhook: Webhook) -> list[tuple[str, str]]:
    """Its fields. A byte that is no UTF-8 is replaced: it is in a name, say, and the opt-out beside it counts."""
    try:
        return urllib.parse.parse_qsl(
            webhook.body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise unreadable("body", f"send a form, urlencoded, of at most {MOST_FIELDS} fields") from None


def parameter(webhook: Webhook, name: str) -> str:
    """Of the URL; empty where it is missing, or there are more than any provider sends."""
    try:
        return dict(urllib.parse.parse_qsl(webhook.query, max_num_fields=MOST_FIELDS)).get(name, "")
    except ValueError:
        return ""


def document(body: bytes | str) -> Any:
    """JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise unreadable("body", "send JSON in UTF-8") from None


def members(value: object) -> Mapping[str, Any]:
    """An object; an empty one for what is none."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Any]:
    """Of a document that is one event, or a list of events."""
    return value if isinstance(value, list) else [value]


def text(value: object) -> str:
    """A text, or a number as one; empty for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def micros(seconds: object) -> int | None:
    """A number of seconds since the epoch, as number or text. None for what is none: the time of receipt counts."""
    try:
        number = float(text(seconds))
        return int(number * 1_000_000) if 0 < number < 1e14 else None
    except ValueError:
        return None


def moment(value: object) -> int | None:
    """A time as in RFC 3339."""
    try:
        return rfc3339(value)
    except ValueError:
        return None


def collect(items: Iterable[Any], read: Callable[[Any], InboundEvent | Sequence[InboundEvent] | None]) -> Payload:
    """The events of these items; one that cannot be read stops no other."""
    events: list[InboundEvent] = []
    failed = 0
    for item in items:
        found = read(item) if isinstance(item, dict) else None
        if found is None:
            failed += 1
        else:
            events += [found] if isinstance(found, InboundEvent) else found
    return Payload(events=events, unreadable=failed)
