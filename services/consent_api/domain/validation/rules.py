"""What the rules depend on in one installation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from consent_api.domain.validation.purposes import Purposes
from consent_api.domain.validation.times import DEFAULT_OLDEST_CHOICE


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationRules:
    """What the installation knows: its channels, the region in which national numbers are read, and what it declares.

    ``oldest_choice``: choices dated before this moment (microseconds) are taken for errors. ``refused_references``:
    references that identify no one, beside those that are refused everywhere. ``tenant_purposes``: of the tenants
    whose purposes differ from ``purposes``.
    """

    channels: Collection[str]
    default_region: str
    oldest_choice: int = DEFAULT_OLDEST_CHOICE
    refused_references: Collection[str] = ()
    purposes: Purposes = field(default_factory=Purposes)
    tenant_purposes: Mapping[str, Purposes] = field(default_factory=dict)

    def purposes_of(self, tenant: str) -> Purposes:
        return self.tenant_purposes.get(tenant, self.purposes)
