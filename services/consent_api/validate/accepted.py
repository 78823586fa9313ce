"""A decision that can be recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from consent_api.errors import FieldError


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A decision that keeps every rule and can be recorded. ``address`` is canonical, and never printed.

    ``bulk`` is the decision's mark: it comes from an import or another bulk source. ``dropped`` lists what a refusal
    is recorded without, because it could not be read; empty for a permission.
    """

    tenant: str
    event_id: str | None
    subject_ref: str | None
    address: str | None = field(repr=False)
    channel: str
    purpose: str
    status: str
    effective_at: int
    recorded_at: int
    expires_at: int | None
    evidence: Mapping[str, str] = field(repr=False)
    bulk: bool = False
    dropped: tuple[FieldError, ...] = ()

    @property
    def source_system(self) -> str | None:
        return self.evidence.get("source_system")
