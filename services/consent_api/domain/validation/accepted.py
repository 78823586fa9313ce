"""A decision that can be recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from consent_api.domain.validation.evidence import REMOVED
from consent_api.domain.validation.references import LONGEST_REFERENCE
from consent_api.domain.validation.validity import ExpiryCut
from consent_api.errors import FieldViolation

BY_LINK = "link"
"""The sender of what a person chooses on a page of ours."""

Event = tuple[str, str, str]
"""(tenant, source, event_id)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidDecision:
    """A decision that keeps every rule and can be recorded. ``address`` is canonical, and never printed.

    ``bulk`` is the decision's mark: it comes from an import or another bulk source. ``dropped`` lists what a refusal
    is recorded without, because it could not be read; empty for a permission. ``sender`` is what the way in knows of
    the system that sent it. One that is not ``may_lift`` gives permissions that lift no refusal.
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
    dropped: tuple[FieldViolation, ...] = ()
    sender: str = ""
    may_lift: bool = True
    cut: ExpiryCut | None = None
    """What ``expires_at`` was cut by."""
    goes_on: bool = False
    """A permission that goes on after a pause or a review: its evidence was checked when it began."""
    traceparent: str | None = None
    """W3C Trace Context: the span of the request or record that submits it."""

    @property
    def source_system(self) -> str | None:
        return self.evidence.get("source_system")

    @property
    def occurred_at(self) -> int | None:
        """When the person chose, if that is stated. None: the time of receipt counts (none sent, or a later one)."""
        return self.effective_at if self.effective_at < self.recorded_at else None

    @property
    def event(self) -> Event | None:
        """What a repetition is recognised by. The source is the system that captured the choice, as the submission
        names it; else what the interface knows of the sender."""
        if self.event_id is None:
            return None
        return self.tenant, event_source(self.source_system, self.sender), self.event_id


def event_source(source_system: str | None, sender: str) -> str:
    """The source within which an event id is unique."""
    return _indexed(sender if source_system in (None, REMOVED) else source_system)


def _indexed(source: str | None) -> str:
    """A source as an index takes it."""
    source = source or ""
    short = len(source) <= LONGEST_REFERENCE and source.isprintable()
    return source if short else hashlib.sha256(source.encode(errors="replace")).hexdigest()
