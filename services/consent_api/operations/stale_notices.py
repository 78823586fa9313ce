"""Ends the permissions that rest on a stale version of a notice (R60): each by a decision `invalidated` of its own,
which goes by the bulk lane.

A person who has decided again keeps that decision, and a refusal stays a refusal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from consent_api.domain.addresses import Address
from consent_api.domain.fan_out import PublishableDecision
from consent_api.ledger import addresses, backlog, database, notices, subjects
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.pending_writes import PendingWrites
from consent_api.ledger.recording import LedgerContext
from consent_api.ledger.writes import NewDecision
from consent_api.operations.republish.pacing import BulkPacing
from consent_contracts.decisions import GIVEN, Decision

_SOURCE_SYSTEM = "consent-relay"
_PAGE = 10_000
_AT_ONCE = 200
_POLL_SECONDS = 0.2
_NONE_BEFORE = str(UUID(int=0))

_TRANSACTION = text("SELECT pg_current_xact_id()::text")
_IS_OVER = text("SELECT pg_snapshot_xmin(pg_current_snapshot()) > CAST(:transaction AS xid8)")
_PAGE_END = text("""
SELECT decision_id::text FROM decisions WHERE decision_id > CAST(:after AS uuid) ORDER BY decision_id
OFFSET :most - 1 LIMIT 1
""")
_FIRST = text("SELECT decision_id FROM decisions ORDER BY decision_id LIMIT 1")
_STALE = text("""
SELECT decision_id::text FROM decisions
WHERE decision_id > CAST(:after AS uuid) AND decision_id <= CAST(:until AS uuid)
  AND tenant = :tenant AND status = 'given' AND evidence ->> 'notice_id' = :notice_id
  AND NOT EXISTS (SELECT FROM notices n WHERE n.tenant = :tenant AND n.notice_id = :notice_id
                  AND n.version = evidence ->> 'notice_version' AND n.stale_at IS NULL)
ORDER BY decision_id
""")
_LAST = str(UUID(int=2**128 - 1))
_REACHED = text("""
SELECT d.decision_id::text AS decision_id, d.subject_id, s.subject_ref, d.purpose, d.effective_at,
       d.evidence ->> 'notice_version' AS notice_version, r.address_id
FROM decisions d JOIN decision_addresses r USING (decision_id) LEFT JOIN subjects s USING (subject_id)
WHERE d.decision_id = ANY(CAST(:ids AS uuid[]))
ORDER BY r.address_id, d.decision_id
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class StaleNotice:
    """Permissions end that name a version of it which is stale or not registered. ``by``: who says so, for the
    evidence."""

    tenant: str
    notice_id: str
    by: str


def mark(ledger: Ledger, tenant: str, notice_id: str, versions: Sequence[str]) -> str:
    """From the commit on, a permission that names one of these versions is refused. The transaction, for `wait_for`."""

    def write(connection: Connection, now: int) -> str:
        notices.make_stale(connection, tenant, notice_id, versions, now=now)
        return str(connection.execute(_TRANSACTION).scalar_one())

    return ledger.write(Lane.BULK, write)


def wait_for(ledger: Ledger, transaction: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Until no transaction is under way that began before this one ended: it may record what this one's rule refuses.
    None of ours lasts longer than one of the bulk lane may."""
    give_up = time.monotonic() + Lane.BULK.limit_seconds
    while time.monotonic() < give_up:
        if ledger.transact(lambda c: c.execute(_IS_OVER, {"transaction": transaction}).scalar_one()):
            return
        sleep(_POLL_SECONDS)


def end_permissions(
    ledger: Ledger,
    stale: StaleNotice,
    *,
    partitions: int,
    page: int = _PAGE,
    at_once: int = _AT_ONCE,
    progress: Callable[[float], None] = lambda share: None,
) -> int:
    """At how many addresses one ended. Can be repeated: what has ended is passed over. ``progress``: the share of the
    ledger's time that was read. ``page``: decisions that are read at once, ``at_once``: permissions
    that end in one transaction. Raises LedgerUnavailableError, KeyringError."""
    pacing = BulkPacing(lambda: ledger.transact(partial(backlog.read, partitions=partitions)), lambda age: None)
    begin, end = ledger.transact(_span)
    after: str | None = _NONE_BEFORE
    ended = 0
    while after is not None:
        until, found = ledger.transact(partial(_find, stale=stale, after=after, most=page))
        for start in range(0, len(found), at_once):
            pacing.wait()
            some = found[start : start + at_once]
            ended += ledger.write(Lane.BULK, lambda c, now, some=some: _end(c, ledger.context, stale, some, now=now))  # type: ignore[misc]
        # Its own decisions are read as well, and lie after the end.
        progress(min((_milliseconds(UUID(until)) - begin) / (end - begin), 1.0) if until else 1.0)
        after = until
    return ended


def _span(connection: Connection) -> tuple[int, int]:
    """When the first decision was recorded, and now (ms)."""
    now = database.clock(connection) // 1_000
    first = connection.execute(_FIRST).scalar_one_or_none()
    return min(_milliseconds(first), now - 1) if first is not None else now - 1, now


def _milliseconds(decision_id: UUID) -> int:
    """When it was recorded: a UUID of version 7 begins with that."""
    return decision_id.int >> 80


def _find(connection: Connection, *, stale: StaleNotice, after: str, most: int) -> tuple[str | None, list[str]]:
    """The end of the page, None of the last one, and the permissions in it that name a stale version."""
    until = connection.execute(_PAGE_END, {"after": after, "most": most}).scalar_one_or_none()
    rows = connection.execute(
        _STALE,
        {
            "after": after,
            "until": until or _LAST,
            "tenant": stale.tenant,
            "notice_id": stale.notice_id,
        },
    )
    return until, list(rows.scalars())


def _end(
    connection: Connection, context: LedgerContext, stale: StaleNotice, decision_ids: Sequence[str], *, now: int
) -> int:
    """End those of the permissions that are the newest decision of their subject and purpose at an address."""
    wanted = {"ids": decision_ids}
    refs = {(stale.tenant, row.subject_ref) for row in connection.execute(_REACHED, wanted) if row.subject_ref}
    subjects.lock(connection, sorted(refs), now=now)
    reached = connection.execute(_REACHED, wanted).all()
    pending = PendingWrites(context.outbox, Lane.BULK)
    pending.current.need(GIVEN, 0, None, {row.address_id for row in reached})
    pending.current.read(connection)
    current = [row for row in reached if _is_current(pending, row)]
    known = addresses.load(
        connection, context.keyring, {row.address_id for row in current}, now=now, unknown_as_stored=True
    )
    rows = [_ended(context, stale, row, known, pending, now=now) for row in current if row.address_id in known]
    pending.widen(connection, context.keyring, now=now)
    pending.write(connection, rows, now=now)
    return len(rows)


def _is_current(pending: PendingWrites, row: Row[Any]) -> bool:
    return any(each.decision_id == row.decision_id for each in pending.current.at(row.address_id))


def _ended(
    context: LedgerContext,
    stale: StaleNotice,
    row: Row[Any],
    known: Mapping[int, Address],
    pending: PendingWrites,
    *,
    now: int,
) -> NewDecision:
    # The database's clock may have been set back since the permission was recorded.
    moment = max(now, row.effective_at)
    decision = Decision(
        decision_id=str(context.ids.next(moment)),
        subject_ref=row.subject_ref,
        purpose=row.purpose,
        status="invalidated",
        effective_at=moment,
        recorded_at=moment,
        bulk=True,
    )
    choice = PublishableDecision(decision=decision, spreads=False, source_system=_SOURCE_SYSTEM)
    address = known[row.address_id]
    pending.publish(choice, address)
    return NewDecision(
        tenant=address.tenant,
        channel=address.channel,
        event=None,
        subject_id=row.subject_id,
        address_id=address.address_id,
        choice=choice,
        occurred_at=None,
        evidence={
            "capture_method": notices.STALE,
            "source_system": _SOURCE_SYSTEM,
            "actor": stale.by,
            "notice_id": stale.notice_id,
            **({"notice_version": row.notice_version} if row.notice_version else {}),
        },
    )
