"""Making links in bulk: tokens, and the headers of a message. Nothing is read from or written into the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from consent_api.domain.validation import ValidationRules, named_address, named_purpose, subject_reference
from consent_api.links.opening import PATHS
from consent_api.links.theme import Themes
from consent_api.links.token import Link, LinkKind, Links

ONE_CLICK_HEADER = "List-Unsubscribe=One-Click"
"""The value of List-Unsubscribe-Post (RFC 8058)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Whose links. ``purpose``: what one click withdraws; None: no one-click link."""

    channel: str
    address: str
    purpose: str | None = None
    subject_ref: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """URLs. ``preferences``: None where the tenant has no preference centre."""

    unsubscribe: str | None
    preferences: str | None

    @property
    def list_unsubscribe(self) -> str | None:
        """The value of the header List-Unsubscribe."""
        return f"<{self.unsubscribe}>" if self.unsubscribe is not None else None


class LinkMaker:
    """Thread-safe. ``public_url``: what the links begin with."""

    def __init__(self, links: Links, themes: Themes, rules: ValidationRules, *, public_url: str) -> None:
        self._links = links
        self._themes = themes
        self._rules = rules
        self._public_url = public_url.rstrip("/")

    def make(self, tenant: str, wanted: Wanted) -> Made:
        """SubmissionInvalidError for what no decision could be recorded about, NoLinkKeysError."""
        address = named_address(wanted.channel, wanted.address, self._rules)
        subject_ref = None
        if wanted.subject_ref is not None:
            subject_ref = subject_reference(wanted.subject_ref, self._rules, addresses=[address])
        one_click = None
        if wanted.purpose is not None:
            one_click = Link(
                tenant=tenant,
                kind=LinkKind.ONE_CLICK,
                channel=wanted.channel,
                address=address,
                purpose=named_purpose(tenant, wanted.purpose, self._rules),
            )
        preferences = None
        if tenant in self._themes:
            preferences = Link(
                tenant=tenant,
                kind=LinkKind.PREFERENCES,
                channel=wanted.channel,
                address=address,
                subject_ref=subject_ref,
            )
        return Made(unsubscribe=self._url(one_click), preferences=self._url(preferences))

    def _url(self, link: Link | None) -> str | None:
        return f"{self._public_url}{PATHS[link.kind]}{self._links.token(link)}" if link is not None else None
