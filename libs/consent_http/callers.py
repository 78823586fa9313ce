"""Who sends a request, and what they may do: the same for API keys and access tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A client that an access token names; of an API key, see `ApiKey`. ``id`` holds no address.

    Permissions of one that is not ``may_lift`` lift no refusal."""

    id: str
    tenant: str
    scopes: frozenset[str]
    may_lift: bool = True

    def allows(self, scope: str) -> bool:
        return scope in self.scopes

    @property
    def who(self) -> str:
        """As the audit and the rate limits name the caller."""
        return f"client:{self.id}"

    @property
    def sender(self) -> str:
        """As the ledger keeps it beside what the caller submitted."""
        return f"client {self.id}"
