"""Receipts: the proof, per decision and destination, of what was delivered and when (GDPR art. 19).

Their ids follow from what they state, so that a call that is repeated after a crash repeats its receipt, and a reader
that keeps the first of each id has the first moment.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from propagator.desired.model import Action

Stage = Literal["queued", "accepted", "effective", "failed", "impossible"]
MAX_DECISIONS = 1_000
"""In one receipt."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One stage that one delivery to one target reached. Times in micros. Field by field as in PropagationReceipt,
    but for `traceparent`, which is a header of its record."""

    tenant: str
    destination: str
    channel: str
    address_key: str
    target: str | None
    action: Action
    stage: Stage
    decision_ids: tuple[str, ...]
    version: int
    recorded_at: int
    queued_at: int
    reached_at: int
    attempts: int
    provider_reference: str | None = None
    detail: str | None = None
    traceparent: str | None = None

    def parts(self) -> list[Receipt]:
        """The same for MAX_DECISIONS of its decisions each, so that each is far from the largest record of a topic."""
        ids = self.decision_ids
        if len(ids) <= MAX_DECISIONS:
            return [self]
        return [
            msgspec.structs.replace(self, decision_ids=ids[start : start + MAX_DECISIONS])
            for start in range(0, len(ids), MAX_DECISIONS)
        ]

    @property
    def receipt_id(self) -> str:
        """A UUID of version 8 (RFC 9562: of our own making)."""
        parts = (self.destination, self.address_key, self.target or "", self.action, self.stage, self.detail or "")
        digest = hashlib.blake2b("\0".join((*parts, *self.decision_ids)).encode(), digest_size=16).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:]}"
