"""One declared destination, complete and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consent_privacy.keyring import Keyring, key_order
from propagator.connectors.base import Action, Capabilities, ConnectionSettings, ConnectorType
from propagator.desired.model import DestinationRules, Purposes


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How fast and how many at once: the connector's defaults, overridden by the file."""

    calls_per_second: float
    """Of the account: every request counts, look-ups and access tokens too."""
    burst: int
    concurrency: int
    max_batch: Mapping[Action, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """One account at one tool, and what it is sent. It belongs to one tenant and serves one channel."""

    connector_type: ConnectorType
    connection: ConnectionSettings
    purposes: Purposes
    push_permissions: bool
    limits: Limits
    paused: bool = False
    """True: nothing is sent; what is pending is kept and counted."""
    generation: int = 0
    """Raised by the operator: everything is sent again (a fill)."""

    @property
    def name(self) -> str:
        return self.connection.destination

    @property
    def tenant(self) -> str:
        return self.connection.tenant

    @property
    def channel(self) -> str:
        return self.connection.channel

    @property
    def capabilities(self) -> Capabilities:
        return self.connector_type.capabilities_with(self.connection.options)

    def rules(self, keyring: Keyring) -> DestinationRules:
        """Everything that the plan of an address depends on beside the two states."""
        return DestinationRules(
            destination=self.name,
            tenant=self.tenant,
            channel=self.channel,
            purposes=self.purposes,
            push_permissions=self.push_permissions,
            address_required=self.capabilities.address_required,
            live_keys=live_keys(keyring, self.tenant),
        )

    def fingerprint(self, keyring: Keyring) -> str:
        """Of all that the pending index of this destination depends on."""
        return self.rules(keyring).fingerprint(generation=self.generation, options=self.connection.options)


def live_keys(keyring: Keyring, tenant: str) -> tuple[str, ...]:
    """Ids of the tenant's hash keys, the oldest first.

    Only under the oldest live key does an entry hold every decision, so the oldest has to be certain: the lowest id (h9
    is lower than h10) must also be the keyring's first. Empty when it is not, or there is no such tenant.
    """
    ids = [key.id for key in keyring.hash_keys.get(tenant, ())]
    oldest_first = sorted(ids, key=key_order)
    return tuple(oldest_first) if oldest_first[:1] == ids[:1] else ()
