"""Ends the permissions that rest on a stale version of a notice (R60): each by a decision `invalidated` of its own,
which goes by the bulk lane.

A person who has decided again keeps that decision, and a refusal stays a refusal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from consent_api.domain.addresses import Address
from consent_api.domain.fan_out import PublishableDecision
from consent_api.errors import LedgerContendedError
from consent_api.ledger import addresses, backlog, database, notices, subjects
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.pending_writes import PendingWrites
from consent_api.ledger.recording import LedgerContext
from consent_api.ledger.writes import NewDecision
from consent_api.operations.republish.pacing import BulkPacing
from consent_contracts.decisions import GIVEN, Decision
from consent_privacy.errors import KeyringError

_SOURCE_SYSTEM = "consent-relay"
_PAGE = 10_000
_AT_ONCE = 50
_POLL_SECONDS = 0.2
_NONE_BEFORE = str(UUID(int=0))

_NOW = text("SELECT clock_timestamp()")
# Of the services' role: another one's are not shown, and record nothing.
_OLDER = text("""
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() AND xact_start <= :moment
""")
_PAGE_END = text("""
SELECT decision_id::text FROM decisions WHERE decision_id > CAST(:after AS uuid) ORDER BY decision_id
OFFSET :most - 1 LIMIT 1
""")
_FIRST = text("SELECT decision_id FROM decisions ORDER BY decision_id LIMIT 1")
_STALE = text("""
SELECT decision_id::text FROM decisions
WHERE decision_id > CAST(:after AS uuid) AND decision_id <= CAST(:until AS uuid)
  AND tenant = :tenant AND status = 'given' AND evidence ->> 'notice_id' = :notice_id
  AND coalesce((SELECT bool_or(n.stale_at IS NOT NULL) FROM notices n WHERE n.tenant = :tenant
                AND n.notice_id = :notice_id AND n.version = evidence ->> 'notice_version'), true)
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


@dataclass(kw_only=True, slots=True)
class Ended:
    """At how many addresses a permission has ended, and of how many permissions the address could not be opened."""

    addresses: int = 0
    unopened: int = 0


def mark(
    ledger: Ledger,
    tenant: str,
    notice_id: str,
    *,
    chosen: Collection[str],
    stale: Collection[str],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """From now on a permission that names one of the ``stale`` versions is refused, and none is being recorded.

    Waits until every transaction is over that began before: it may have read that they are not stale. One that records
    lasts no longer than the bulk lane's limit, at which PostgreSQL ends it; others, which read, may.
    """
    ledger.write(
        Lane.BULK,
        lambda c, now: notices.end_older(c, tenant, notice_id, chosen=chosen, stale=stale, now=now),
    )
    moment = ledger.transact(lambda c: c.execute(_NOW).scalar_one())
    give_up = time.monotonic() + Lane.BULK.limit_seconds
    while ledger.transact(lambda c: c.execute(_OLDER, {"moment": moment}).scalar_one()):
        if time.monotonic() > give_up:
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
    require_keys: Callable[[], None] = lambda: None,
) -> Ended:
    """Can be repeated: what has ended is passed over. ``progress``: the share of the ledger's time that was read.
    ``require_keys`` is called before each transaction, and raises where the hash keys are not those of the ledger's
    keyring any more: an address ends under each of its keys. ``page``: decisions that are read at once, ``at_once``:
    permissions that end in one transaction. Raises LedgerUnavailableError."""
    pacing = BulkPacing(lambda: ledger.transact(partial(backlog.read, partitions=partitions)), lambda age: None)
    begin, end = ledger.transact(_span)
    after: str | None = _NONE_BEFORE
    ended = Ended()
    while after is not None:
        until, found = ledger.transact(partial(_find, stale=stale, after=after, most=page))
        for start in range(0, len(found), at_once):
            pacing.wait()
            require_keys()
            _end_some(ledger, stale, found[start : start + at_once], ended)
        # Its own decisions are read as well, and lie after the end.
        progress(min((_milliseconds(UUID(until)) - begin) / (end - begin), 1.0) if until else 1.0)
        after = until
    return ended


def _end_some(ledger: Ledger, stale: StaleNotice, decision_ids: Sequence[str], ended: Ended) -> None:
    """One whose address cannot be opened keeps no other from its end."""
    try:
        ended.addresses += ledger.write(
            Lane.BULK, lambda connection, now: _end(connection, ledger.context, stale, decision_ids, now=now)
        )
    except KeyringError:
        if len(decision_ids) == 1:
            ended.unopened += 1
            return
        for each in decision_ids:
            _end_some(ledger, stale, [each], ended)


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
    if subjects.lock(connection, sorted(refs), now=now).created:
        raise LedgerContendedError("a subject has just been erased")
    reached = connection.execute(_REACHED, wanted).all()
    addresses.lock(connection, {row.address_id for row in reached})
    pending = PendingWrites(context.outbox, Lane.BULK)
    pending.current.need(GIVEN, 0, None, {row.address_id for row in reached})
    pending.current.read(connection)
    current = [row for row in reached if _is_current(pending, row)]
    known = addresses.load(
        connection, context.keyring, {row.address_id for row in current}, now=now, unknown_as_stored=True
    )
    rows = [_ended(context, stale, row, known, pending, now=now) for row in current if row.address_id in known]
    # Not on the other numbers of a line: a permission reaches its own alone, and so does its end.
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
