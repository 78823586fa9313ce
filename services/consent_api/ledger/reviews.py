"""Replies that are in doubt: each has paused its address, and a person decides what it meant.

The pause is a withdrawal like any other. To take it back, the permissions that it ended are given again by decisions
that say so, with their evidence and their end as they were: nothing is ever deleted. They count from the pause, and not
from when someone looked at it: what was refused in between is newer, and stays whenever it arrives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from consent_api.domain.validation import ValidDecision
from consent_api.errors import ReviewResolvedError, ReviewTooEarlyError, ReviewUnknownError
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.lanes import MARK, Lane
from consent_api.ledger.recording import LedgerContext, record
from consent_api.ledger.rows import decision_of
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN, Decision, permits
from consent_contracts.join import permits_after, precedence
from consent_contracts.verdict import verdict
from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring

PAGE = 100
RESTORED = "restored_after_review"
"""The capture_method of a permission that is given again."""


class Resolution(StrEnum):
    WITHDRAWAL = "withdrawal"
    NOT_A_WITHDRAWAL = "not_a_withdrawal"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewReview:
    """A reply in doubt; ``decision_ids`` are the withdrawals by which it paused its address."""

    tenant: str
    channel: str
    source: str
    rule: str
    decision_ids: Sequence[str]
    reply: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """``reply`` is None once it is resolved, or where it cannot be opened. Times in micros."""

    review_id: str
    channel: str
    source: str
    rule: str
    decision_ids: tuple[str, ...]
    received_at: int
    reply: str | None = field(repr=False)
    resolution: Resolution | None = None
    resolved_at: int | None = None
    resolved_by: str | None = None
    restored: tuple[str, ...] = ()


_INSERT = text("""
INSERT INTO reviews (review_id, tenant, channel, source, rule, decision_ids, sealed_reply, received_at)
VALUES (CAST(:review_id AS uuid), :tenant, :channel, :source, :rule, CAST(:decision_ids AS uuid[]), :sealed_reply, :now)
ON CONFLICT (review_id) DO NOTHING
""")
_COLUMNS = """
review_id::text AS review_id, tenant, channel, source, rule, decision_ids::text[] AS decision_ids, sealed_reply,
received_at, resolution, resolved_at, resolved_by, restored::text[] AS restored
"""
_OPEN = text(f"""
SELECT {_COLUMNS} FROM reviews
WHERE tenant = :tenant AND resolved_at IS NULL AND (CAST(:after AS uuid) IS NULL OR review_id > CAST(:after AS uuid))
ORDER BY review_id LIMIT :most
""")  # noqa: S608 - constants
_ONE = text(f"SELECT {_COLUMNS} FROM reviews WHERE tenant = :tenant AND review_id = :review_id FOR UPDATE")  # noqa: S608
_RESOLVE = text("""
UPDATE reviews SET resolution = :resolution, resolved_at = :now, resolved_by = :by, sealed_reply = NULL,
                   restored = CAST(:restored AS uuid[])
WHERE review_id = :review_id
""")
# Every decision that has reached one of the addresses that the pause has reached, and whether a review has found that
# it was no withdrawal.
_THERE = text(f"""
SELECT r.address_id, d.decision_id::text AS decision_id, s.subject_ref, d.purpose, d.status, d.effective_at,
       d.recorded_at, d.expires_at, {MARK}, d.source_system, d.evidence,
       EXISTS (SELECT FROM reviews v WHERE v.tenant = d.tenant AND v.resolution = 'not_a_withdrawal'
               AND d.decision_id = ANY(v.decision_ids)) AS taken_back
FROM decision_addresses p JOIN decision_addresses r USING (address_id)
JOIN decisions d ON d.decision_id = r.decision_id LEFT JOIN subjects s ON s.subject_id = d.subject_id
WHERE p.decision_id = ANY(CAST(:decision_ids AS uuid[]))
""")  # noqa: S608 - constants
_KEYS = text("""
SELECT address_id, address_key, sealed_address FROM address_keys WHERE address_id = ANY(CAST(:address_ids AS bigint[]))
""")


def insert(connection: Connection, keyring: Keyring, reviews: Iterable[NewReview], *, now: int) -> None:
    """Add to the list; what is on it already stays as it is."""
    for each in reviews:
        review_id = each.decision_ids[0]
        connection.execute(
            _INSERT,
            {
                "review_id": review_id,
                "tenant": each.tenant,
                "channel": each.channel,
                "source": each.source,
                "rule": each.rule,
                "decision_ids": list(each.decision_ids),
                "sealed_reply": keyring.seal_record(each.reply.encode("utf-8", "replace"), review_id.encode()),
                "now": now,
            },
        )


def pending(
    connection: Connection, keyring: Keyring, *, tenant: str, after: str | None = None, most: int = PAGE
) -> list[Review]:
    """Those that no person has resolved, the oldest first; ``after`` this id."""
    rows = connection.execute(_OPEN, {"tenant": tenant, "after": after, "most": most})
    return [_review(row, keyring) for row in rows]


def resolve(
    connection: Connection,
    context: LedgerContext,
    *,
    tenant: str,
    review_id: UUID,
    resolution: Resolution,
    by: str,
    now: int,
) -> Review:
    """Decide what a reply meant, in a transaction whose limits the caller has set. The same again changes nothing.

    ReviewUnknownError, ReviewResolvedError, ReviewTooEarlyError.
    """
    row = connection.execute(_ONE, {"tenant": tenant, "review_id": review_id}).one_or_none()
    if row is None:
        raise ReviewUnknownError
    if row.resolution is not None:
        if row.resolution != resolution:
            raise ReviewResolvedError
        return _review(row, context.keyring)
    restored: list[str] = []
    if resolution is Resolution.NOT_A_WITHDRAWAL:
        restored = _restore(connection, context, row, by=by, now=now)
    connection.execute(
        _RESOLVE, {"review_id": review_id, "resolution": resolution, "now": now, "by": by, "restored": restored}
    )
    return _review(connection.execute(_ONE, {"tenant": tenant, "review_id": review_id}).one(), context.keyring)


def to_restore(
    decisions: Collection[Decision], paused: Collection[str], taken_back: Collection[str], *, now: int
) -> list[Decision]:
    """The permissions at an address that the pause ended and that hold without it. Pure.

    ``paused``: the ids of the pause; ``taken_back``: those of pauses that were found to be none before. A permission
    that another refusal forbids, of the address or of the person, stays ended.
    """
    kept = [each for each in decisions if each.decision_id not in paused and each.decision_id not in taken_back]
    pauses = [each for each in decisions if each.decision_id in paused]
    found: list[Decision] = []
    for given in kept:
        if not permits(given) or (given.expires_at is not None and given.expires_at <= now):
            continue
        ended_by = [each for each in pauses if each.purpose in (given.purpose, EVERY_PURPOSE)]
        if not ended_by or precedence(given) > max(map(precedence, ended_by)):
            continue
        own = [each for each in kept if each.subject_ref in (None, given.subject_ref)]
        if verdict(own, given.purpose).decision_id == given.decision_id:
            found.append(given)
    return found


def _restore(connection: Connection, context: LedgerContext, review: Row[Any], *, by: str, now: int) -> list[str]:
    rows = connection.execute(_THERE, {"decision_ids": review.decision_ids}).all()
    paused = set(review.decision_ids)
    if any(row.decision_id in paused and now < permits_after(row.effective_at) for row in rows):
        raise ReviewTooEarlyError
    addresses = {row.address_id for row in rows}
    canonical = _opened(connection, context.keyring, addresses)
    again: list[ValidDecision] = []
    for address_id in sorted(canonical):
        there = {row.decision_id: row for row in rows if row.address_id == address_id}
        taken_back = {row.decision_id for row in there.values() if row.taken_back}
        # Of this pause and those that were taken back before.
        newest = max(there[each].effective_at for each in (paused | taken_back) & there.keys())
        for given in to_restore([decision_of(row) for row in there.values()], paused, taken_back, now=now):
            again.append(
                ValidDecision(
                    tenant=review.tenant,
                    event_id=f"{RESTORED}-{review.review_id}-{len(again)}",
                    subject_ref=given.subject_ref,
                    address=canonical[address_id],
                    channel=review.channel,
                    purpose=given.purpose,
                    status=GIVEN,
                    effective_at=min(permits_after(newest), now),
                    recorded_at=now,
                    expires_at=given.expires_at,
                    evidence={**there[given.decision_id].evidence, "capture_method": RESTORED, "actor": by},
                    sender=f"review by {by}",
                    goes_on=True,
                )
            )
    results = record(connection, context, again, lane=Lane.LIVE)
    return [each.decision_id for each in results if isinstance(each, RecordedDecision)]


def _opened(connection: Connection, keyring: Keyring, address_ids: Collection[int]) -> dict[int, str]:
    """The clear addresses. DecryptionFailedError where a seal key is gone."""
    found: dict[int, str] = {}
    for row in connection.execute(_KEYS, {"address_ids": sorted(address_ids)}):
        if row.sealed_address is not None:
            found.setdefault(row.address_id, keyring.open(row.address_key, bytes(row.sealed_address)))
    return found


def _review(row: Row[Any], keyring: Keyring) -> Review:
    reply: str | None = None
    if row.sealed_reply is not None:
        try:
            reply = keyring.open_record(bytes(row.sealed_reply), row.review_id.encode()).decode("utf-8", "replace")
        except DecryptionFailedError:
            reply = None
    return Review(
        review_id=row.review_id,
        channel=row.channel,
        source=row.source,
        rule=row.rule,
        decision_ids=tuple(row.decision_ids),
        received_at=row.received_at,
        reply=reply,
        resolution=Resolution(row.resolution) if row.resolution is not None else None,
        resolved_at=row.resolved_at,
        resolved_by=row.resolved_by,
        restored=tuple(row.restored or ()),
    )
