"""Whether an address takes messages, by what tools report of it. Pure; all times in micros."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consent_contracts.decisions import DELIVERED, UNDELIVERABLE


@dataclass(frozen=True, kw_only=True, slots=True)
class Deliverability:
    """The last hard bounce and the last delivery that are known. Of the two the newer counts; of one moment, the
    bounce."""

    bounced_at: int | None = None
    delivered_at: int | None = None

    @property
    def undeliverable(self) -> bool:
        return self.bounced_at is not None and (self.delivered_at is None or self.delivered_at <= self.bounced_at)

    def with_report(self, status: str, at: int) -> Deliverability:
        """In whatever order, and however often, the reports come."""
        if status == UNDELIVERABLE:
            return Deliverability(bounced_at=max(at, self.bounced_at or at), delivered_at=self.delivered_at)
        return Deliverability(bounced_at=self.bounced_at, delivered_at=max(at, self.delivered_at or at))


def finding(before: Deliverability, after: Deliverability) -> tuple[str, int] | None:
    """The status to record, and since when; None where the answer is what it was."""
    if before.undeliverable == after.undeliverable:
        return None
    at = after.bounced_at if after.undeliverable else after.delivered_at
    assert at is not None
    return (UNDELIVERABLE if after.undeliverable else DELIVERED), at


def after_all(before: Deliverability, reports: Iterable[tuple[str, int]]) -> Deliverability:
    found = before
    for status, at in reports:
        found = found.with_report(status, at)
    return found
