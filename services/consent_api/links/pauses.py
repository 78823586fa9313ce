"""Pauses: a refusal until a day, and the permission that the person gave, with the pause, for what follows.

The permission is recorded when the pause ends, and counts from the moment of the pause. So whatever the person refuses
in between is newer and stays, in whichever order it arrives.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from consent_api.domain.validation import Accepted
from consent_api.errors import LedgerUnavailableError
from consent_api.ledger import addresses, tables
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.recording import LedgerContext, record
from consent_api.links.recording import SENDER
from consent_contracts.decisions import GIVEN
from consent_contracts.join import SKEW_MICROS
from consent_privacy.errors import DecryptionFailedError, UnknownTenantError

log = logging.getLogger(__name__)

DAY_MICROS = 24 * 3600 * 1_000_000
INTERVAL_SECONDS = 20.0
_AT_ONCE = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """Of one purpose at one address; times in micros. ``evidence``: of the permission that follows, which ends at
    ``expires_at``."""

    decision_id: str
    tenant: str
    address_id: int
    subject_ref: str | None
    channel: str
    purpose: str
    paused_at: int
    ends_at: int
    expires_at: int
    evidence: Mapping[str, str] = field(repr=False)


_ENDS = text("""
SELECT decision_id::text AS decision_id, max(ends_at) AS ends_at FROM pauses
WHERE decision_id = ANY(CAST(:ids AS uuid[])) GROUP BY decision_id
""")
# Another process may end pauses at the same time.
_DUE = text("""
SELECT decision_id, tenant, address_id, subject_ref, channel, purpose, paused_at, expires_at, evidence
FROM pauses WHERE ends_at <= :now ORDER BY ends_at LIMIT :most FOR UPDATE SKIP LOCKED
""")
_END = text("DELETE FROM pauses WHERE decision_id = :decision_id AND address_id = :address_id")


def add(connection: Connection, begun: Sequence[Pause]) -> None:
    """Remember when they end, and what follows."""
    connection.execute(
        tables.pauses.insert(),
        [
            {
                "decision_id": UUID(each.decision_id),
                "tenant": each.tenant,
                "address_id": each.address_id,
                "subject_ref": each.subject_ref,
                "channel": each.channel,
                "purpose": each.purpose,
                "paused_at": each.paused_at,
                "ends_at": each.ends_at,
                "expires_at": each.expires_at,
                "evidence": dict(each.evidence),
            }
            for each in begun
        ],
    )


def ends(connection: Connection, decision_ids: Collection[str]) -> dict[str, int]:
    """The refusals among these decisions that are pauses, with their ends (micros)."""
    if not decision_ids:
        return {}
    rows = connection.execute(_ENDS, {"ids": list(map(UUID, decision_ids))})
    return {row.decision_id: row.ends_at for row in rows}


def end_due(connection: Connection, context: LedgerContext, now: int) -> int:
    """Record the permissions that follow the pauses which are over, a bounded number; how many pauses that was."""
    due = connection.execute(_DUE, {"now": now, "most": _AT_ONCE}).all()
    permissions = [each for row in due if (each := _permission(connection, context, row, now)) is not None]
    record(connection, context, permissions, lane=Lane.LIVE)
    for row in due:
        connection.execute(_END, {"decision_id": row.decision_id, "address_id": row.address_id})
    return len(due)


def _permission(connection: Connection, context: LedgerContext, row: Row[Any], now: int) -> Accepted | None:
    """None where there is nothing to permit any more: the refusal stays."""
    if row.expires_at <= now:
        return None
    try:
        address = addresses.load(connection, context.keyring, [row.address_id], now=now).get(row.address_id)
        if address is None:
            return None
        canonical = context.keyring.open(address.key, address.sealed[address.key])
    except (UnknownTenantError, DecryptionFailedError):
        log.error("a pause has ended, and the address stays refused: it cannot be opened", extra={"tenant": row.tenant})
        return None
    return Accepted(
        tenant=row.tenant,
        event_id=None,
        subject_ref=row.subject_ref,
        address=canonical,
        channel=row.channel,
        purpose=row.purpose,
        status=GIVEN,
        # The next moment at which a permission is newer than that refusal.
        effective_at=min(row.paused_at + SKEW_MICROS + 1, now),
        recorded_at=now,
        expires_at=row.expires_at,
        evidence=row.evidence,
        sender=SENDER,
    )


class PauseEnder:
    """Ends pauses in a thread of its own, in as many processes as there are."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def run(self, stop: threading.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            if self.turn() < _AT_ONCE:
                stop.wait(INTERVAL_SECONDS)

    def turn(self) -> int:
        """How many pauses have been ended; 0 where the ledger cannot be asked."""
        try:
            return self._ledger.write(Lane.LIVE, lambda c, now: end_due(c, self._ledger.context, now))
        except LedgerUnavailableError:
            return 0  # The database monitor reports it.
