"""What tools report of an address: bounces and deliveries, and the finding that follows (docs/decisions/0040).

A finding is a decision on `DELIVERY`. It goes by the bulk lane: no person has chosen anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import Connection, text

from consent_api.domain.addresses import Address, Named
from consent_api.domain.deliverability import Deliverability, after_all, finding
from consent_api.domain.fan_out import PublishableDecision
from consent_api.ledger import addresses, writes
from consent_api.ledger.lanes import Lane
from consent_api.ledger.recording import LedgerContext
from consent_api.ledger.writes import NewDecision
from consent_contracts.decisions import DELIVERY, UNDELIVERABLE, Decision

DELIVERIES_KEPT_MICROS = 7 * 24 * 3600 * 1_000_000
"""Of an address without a bounce: longer than any tool sends a webhook again, and a bounce may come late."""

# In the order of their ids, so that two writers of the same addresses cannot deadlock.
_ADD = text("""
INSERT INTO deliverability (address_id)
SELECT address_id FROM unnest(CAST(:ids AS bigint[])) AS named (address_id) ORDER BY address_id
ON CONFLICT DO NOTHING
""")
_LOCK = text("""
SELECT address_id, bounced_at, delivered_at FROM deliverability
WHERE address_id = ANY(CAST(:ids AS bigint[])) ORDER BY address_id FOR UPDATE
""")
_KEEP = text("""
UPDATE deliverability d SET bounced_at = new.bounced_at, delivered_at = new.delivered_at
FROM json_to_recordset(CAST(:rows AS json)) AS new (address_id bigint, bounced_at bigint, delivered_at bigint)
WHERE d.address_id = new.address_id
""")
_FORGET = text("""
DELETE FROM deliverability WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM deliverability WHERE bounced_at IS NULL AND delivered_at < :before
    ORDER BY delivered_at LIMIT :most FOR UPDATE SKIP LOCKED))
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One bounce or delivery. ``status``: of `FINDINGS`. ``occurred_at``: by the tool's clock, in micros; None: now.
    ``evidence``: as of a decision."""

    named: Named = field(repr=False)
    status: str
    occurred_at: int | None
    evidence: Mapping[str, str] = field(repr=False)


def record(connection: Connection, context: LedgerContext, reports: Sequence[Report], *, now: int) -> None:
    """Keep what is reported, and record a finding where the answer changes. The caller's transaction writes the bulk
    lane. An address becomes known by a bounce, not by a delivery. Of one that has been erased nothing is kept: it is
    refused anyway."""
    bounced = {each.named for each in reports if each.status == UNDELIVERABLE}
    found = addresses.resolve(connection, context.keyring, bounced, now=now)
    delivered = {each.named for each in reports} - bounced
    found |= addresses.resolve(connection, context.keyring, delivered, now=now, create=False)
    of_address: dict[int, list[Report]] = defaultdict(list)
    for each in reports:
        address = found.get(each.named)
        if address is not None and not (address.is_erased or address.erasing):
            of_address[found[each.named].address_id].append(each)
    if not of_address:
        return
    ids = {"ids": sorted(of_address)}
    connection.execute(_ADD, ids)
    rows: list[dict[str, int | None]] = []
    decisions: list[tuple[NewDecision, Address]] = []
    by_id = {each.address_id: each for each in found.values()}
    for row in connection.execute(_LOCK, ids).all():
        before = Deliverability(bounced_at=row.bounced_at, delivered_at=row.delivered_at)
        reported = of_address[row.address_id]
        after = after_all(before, ((each.status, _moment(each, now)) for each in reported))
        if after == before:
            continue
        rows.append({"address_id": row.address_id, "bounced_at": after.bounced_at, "delivered_at": after.delivered_at})
        if (new := finding(before, after)) is not None:
            address = by_id[row.address_id]
            decisive = next(each for each in reported if each.status == new[0] and _moment(each, now) == new[1])
            decisions.append((_decision(context, address, decisive, at=new[1], now=now), address))
    connection.execute(_KEEP, {"rows": msgspec.json.encode(rows).decode()})
    writes.write(
        connection,
        decisions=[each for each, _ in decisions],
        reached=[(address.address_id, each.choice.decision.decision_id) for each, address in decisions],
        messages=[
            message
            for each, address in decisions
            for message in context.outbox.changes(each.choice, address, Lane.BULK)
        ],
        lane=Lane.BULK,
        now=now,
    )


def delete_expired(connection: Connection, *, now: int, most: int) -> int:
    """Delete up to `most` deliveries that no bounce can be older than any more; how many."""
    return connection.execute(_FORGET, {"before": now - DELIVERIES_KEPT_MICROS, "most": most}).rowcount


def _moment(report: Report, now: int) -> int:
    """A tool whose clock is fast reports what has happened by now."""
    return now if report.occurred_at is None else min(report.occurred_at, now)


def _decision(context: LedgerContext, address: Address, report: Report, *, at: int, now: int) -> NewDecision:
    decision = Decision(
        decision_id=str(context.ids.next(now)),
        subject_ref=None,
        purpose=DELIVERY,
        status=report.status,
        effective_at=at,
        recorded_at=now,
        bulk=True,
    )
    return NewDecision(
        tenant=address.tenant,
        channel=address.channel,
        event=None,
        subject_id=None,
        address_id=address.address_id,
        choice=PublishableDecision(
            decision=decision, spreads=False, source_system=report.evidence.get("source_system")
        ),
        occurred_at=report.occurred_at,
        evidence=report.evidence,
    )
