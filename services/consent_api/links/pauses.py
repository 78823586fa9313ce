"""Pauses: a refusal until a day, and the permission that the person gave, with the pause, for what follows.

The permission is recorded when the pause ends, and counts from the moment of the pause. So whatever the person refuses
in between is newer and stays, in whichever order it arrives.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import Connection, Row, text

from consent_api.domain.validation import ValidDecision
from consent_api.errors import LedgerContendedError, LedgerUnavailableError, TransactionTooLongError
from consent_api.ledger import addresses, database, lanes, subjects, tables
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.recording import LedgerContext, record
from consent_api.links.recording import SENDER
from consent_contracts.decisions import GIVEN
from consent_contracts.join import permits_after
from consent_privacy.errors import DecryptionFailedError, UnknownTenantError
from consent_service.health import Health

log = logging.getLogger(__name__)

DAY_MICROS = 24 * 3600 * 1_000_000
INTERVAL_SECONDS = 20.0
RETRY_MICROS = 3600 * 1_000_000
"""After which a pause is looked at again that could not be ended."""
_AT_ONCE = 50
_NAMED = 5
"""Pauses that a line of the log names."""


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
_OVER = text("SELECT decision_id, address_id FROM pauses WHERE ends_at <= :now ORDER BY ends_at LIMIT :most")
# Another process may end pauses at the same time.
_DUE = text("""
SELECT decision_id, tenant, address_id, subject_ref, channel, purpose, paused_at, expires_at, evidence
FROM pauses
WHERE ends_at <= :now AND decision_id = coalesce(CAST(:decision_id AS uuid), decision_id)
  AND address_id = coalesce(CAST(:address_id AS bigint), address_id)
ORDER BY ends_at LIMIT :most FOR UPDATE SKIP LOCKED
""")
_END = text("DELETE FROM pauses WHERE decision_id = :decision_id AND address_id = :address_id")
_DROP = text("DELETE FROM pauses WHERE address_id = :address_id AND subject_ref IS NULL")
_POSTPONE = text("UPDATE pauses SET ends_at = :later WHERE decision_id = :decision_id AND address_id = :address_id")
_IS_LINKED = text("""
SELECT EXISTS (SELECT FROM subject_addresses
               WHERE subject_id = :subject_id AND address_id = :address_id AND unlinked_at IS NULL)
""")


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


def drop(connection: Connection, address_id: int) -> None:
    """Nothing follows the pauses of an address itself any more: it was another person's."""
    connection.execute(_DROP, {"address_id": address_id})


def ends(connection: Connection, decision_ids: Collection[str]) -> dict[str, int]:
    """The refusals among these decisions that are pauses, with their ends (micros)."""
    if not decision_ids:
        return {}
    rows = connection.execute(_ENDS, {"ids": list(map(UUID, decision_ids))})
    return {row.decision_id: row.ends_at for row in rows}


def end_due(connection: Connection, context: LedgerContext, now: int, *, only: Row[Any] | None = None) -> int:
    """Record the permissions that follow the pauses which are over, a bounded number, or the one of ``only``; how many
    pauses that was."""
    one = {"decision_id": only and only.decision_id, "address_id": only and only.address_id}
    due = connection.execute(_DUE, {"now": now, "most": _AT_ONCE, **one}).all()
    permissions = [each for row in due if (each := _permission(connection, context, row, now)) is not None]
    record(connection, context, permissions, lane=Lane.LIVE)
    for row in due:
        connection.execute(_END, {"decision_id": row.decision_id, "address_id": row.address_id})
    return len(due)


def _permission(connection: Connection, context: LedgerContext, row: Row[Any], now: int) -> ValidDecision | None:
    """None where there is nothing to permit any more: the refusal stays."""
    if row.expires_at <= now:
        return None
    if row.subject_ref is not None and not _is_linked(connection, row, now):
        return None  # The number has moved on: its new owner permitted nothing.
    try:
        address = addresses.load(connection, context.keyring, [row.address_id], now=now).get(row.address_id)
        if address is None:
            return None
        sealed = address.sealed[address.key]
        if sealed is None:
            return None  # Erased.
        canonical = context.keyring.open(address.key, sealed)
    except (UnknownTenantError, DecryptionFailedError):
        log.error("a pause has ended, and the address stays refused: it cannot be opened", extra={"tenant": row.tenant})
        return None
    return ValidDecision(
        tenant=row.tenant,
        event_id=None,
        subject_ref=row.subject_ref,
        address=canonical,
        channel=row.channel,
        purpose=row.purpose,
        status=GIVEN,
        effective_at=min(permits_after(row.paused_at), now),
        recorded_at=now,
        expires_at=row.expires_at,
        evidence=row.evidence,
        sender=SENDER,
        goes_on=True,
    )


def _is_linked(connection: Connection, row: Row[Any], now: int) -> bool:
    """Whether the address is still the subject's; locked, so that it stays so."""
    subject_id = subjects.lock(connection, [(row.tenant, row.subject_ref)], now=now).ids[row.tenant, row.subject_ref]
    found = connection.execute(_IS_LINKED, {"subject_id": subject_id, "address_id": row.address_id})
    return bool(found.scalar_one())


class PauseEnder:
    """Ends pauses in a thread of its own, in as many processes as there are. What goes wrong leaves people refused: it
    is logged, counted and on the health page, and tried again."""

    def __init__(self, ledger: Ledger, *, health: Health, failures: Counter) -> None:
        self._ledger = ledger
        self._health = health
        self._failures = failures
        self._left: frozenset[tuple[UUID, int]] = frozenset()
        """By decision and address: the pauses that were over after the last turn, which had not taken them."""

    def run(self, stop: threading.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            if self.turn() < _AT_ONCE:
                stop.wait(INTERVAL_SECONDS)

    def turn(self) -> int:
        """How many pauses have been ended; 0 where the ledger cannot be asked. Raises nothing."""
        ended = failed = 0
        try:
            ended, failed = self._end_due()
            if ended < _AT_ONCE:
                failed += self._held()
        except (LedgerContendedError, TransactionTooLongError) as error:  # The table itself is locked.
            log.error("pauses could not be looked at", extra={"why": str(error)})
            failed += 1
        except LedgerUnavailableError:
            return ended  # The database monitor reports it.
        except Exception:
            log.exception("pauses could not be ended")
            failed += 1
        self._failures.inc(failed)
        self._health.note("pauses", f"{failed} could not be ended, see the log: tried again" if failed else "")
        return ended

    def _held(self) -> int:
        """How many pauses two turns, an interval apart, have left. Processes of ours hold a pause and its person for
        seconds, so it is another session of the database that holds these."""
        over = self._ledger.transact(_over)
        left = frozenset((row.decision_id, row.address_id) for row in over)
        held, self._left = left & self._left, left
        if held:
            named = sorted(str(decision_id) for decision_id, _ in held)[:_NAMED]
            log.error(
                "pauses are over, and another session of the database holds what ending them takes",
                extra={"pauses": len(held), "decision_ids": named},
            )
        return len(held)

    def _end_due(self) -> tuple[int, int]:
        """How many were ended, and how many could not be. One of them stops no other."""
        context = self._ledger.context
        try:
            return self._ledger.write(Lane.LIVE, lambda c, now: end_due(c, context, now)), 0
        except (LedgerContendedError, TransactionTooLongError) as error:
            log.info("ending pauses one by one", extra={"why": type(error).__name__})
        except LedgerUnavailableError:
            raise
        except Exception as error:
            log.warning("ending pauses one by one", extra={"why": type(error).__name__})
        ended = failed = 0
        for row in self._ledger.transact(_over):
            try:
                # Without patience: the batch has had it, and fifty that are held would take minutes.
                ended += self._ledger.transact(partial(_end_one, row, context), limit_seconds=Lane.LIVE.limit_seconds)
            except (LedgerContendedError, TransactionTooLongError):
                continue  # The next turn may find it free.
            except LedgerUnavailableError:
                raise
            except Exception:
                log.exception("a pause could not be ended", extra={"decision_id": str(row.decision_id)})
                failed += 1
                self._ledger.transact(partial(_postpone, row))
        return ended, failed


def _over(connection: Connection) -> Sequence[Row[Any]]:
    """The pauses that are over, a bounded number."""
    return connection.execute(_OVER, {"now": database.clock(connection), "most": _AT_ONCE}).all()


def _end_one(row: Row[Any], context: LedgerContext, connection: Connection) -> int:
    return end_due(connection, context, lanes.limit(connection, Lane.LIVE), only=row)


def _postpone(row: Row[Any], connection: Connection) -> None:
    later = database.clock(connection) + RETRY_MICROS
    connection.execute(_POSTPONE, {"decision_id": row.decision_id, "address_id": row.address_id, "later": later})
