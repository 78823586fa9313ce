"""Our own pushes that come back as a provider's events (R57): known by the receipts of the destination."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from consent_api.domain.addresses import Named
from consent_api.ledger import addresses
from consent_api.ledger.current import CurrentDecisions
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN, permits
from consent_contracts.verdict import Verdict, effective_verdict, verdicts
from consent_privacy.keyring import Keyring

WINDOW_MICROS = 3600 * 1_000_000
"""How long after a push its event may come."""
_SUPPRESS = "suppress"
# By the decisions that reached the address: receipts have no index by address.
_PUSHES = text("""
SELECT DISTINCT r.target, r.action, r.reached_at, r.version
FROM decision_addresses a
JOIN receipt_decisions d USING (decision_id)
JOIN receipts r USING (receipt_id)
WHERE a.address_id = :address_id AND r.tenant = :tenant AND r.destination = :destination
  AND r.address_key = ANY(CAST(:address_keys AS text[])) AND r.stage IN ('accepted', 'effective')
  AND r.reached_at >= :since
ORDER BY r.version DESC, r.reached_at DESC LIMIT 50
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """What the destination took; ``reached_at`` in micros."""

    target: str | None
    action: str
    reached_at: int


def is_echo(
    *, target: str | None, current: Collection[Verdict], pushes: Sequence[Push], permitted_at: int | None = None
) -> bool:
    """Whether an opt-out that a provider reports is our own push. ``pushes``: the destination's of the last hour, the
    newest first; ``current``: the verdicts now, for the purposes that the opt-out would withdraw; ``permitted_at``:
    when the newest permission that it would end was recorded (micros). Pure.

    It is one where the last push to that target suppressed it, and nothing has been permitted since: that permission
    may never be pushed there, and the opt-out is a person's who has changed their mind. A provider that names no target
    is believed only where nothing would change: everything is refused already.
    """
    if target is not None:
        last = next((push for push in pushes if push.target == target), None)
        if last is None or last.action != _SUPPRESS:
            return False
        return permitted_at is None or permitted_at < last.reached_at
    refused = all(not each.permitted and each.decision_id is not None for each in current)
    return refused and bool(pushes) and pushes[0].action == _SUPPRESS


def find(
    connection: Connection,
    keyring: Keyring,
    *,
    named: Named,
    destination: str,
    target: str | None,
    purposes: Collection[str],
    now: int,
) -> bool:
    """Whether an opt-out of this address, reported now (micros), is an echo of a push to ``destination``."""
    address = addresses.find(connection, keyring, named)
    if address is None:
        return False
    rows = connection.execute(
        _PUSHES,
        {
            "address_id": address.address_id,
            "tenant": named[0],
            "destination": destination,
            "address_keys": list(address.sealed),
            "since": now - WINDOW_MICROS,
        },
    )
    pushes = [Push(target=row.target, action=row.action, reached_at=row.reached_at) for row in rows]
    if not pushes:
        return False
    there = CurrentDecisions()
    there.need(GIVEN, 0, None, [address.address_id])
    there.read(connection)
    decisions = there.at(address.address_id)
    known = verdicts(decisions)
    # An opt-out of everything would end what is permitted for any purpose.
    named_ones = known if EVERY_PURPOSE in purposes else purposes
    found = {purpose: effective_verdict(known, purpose, now) for purpose in named_ones}
    permissions = [d.recorded_at for d in decisions if permits(d) and d.purpose in found and found[d.purpose].permitted]
    return is_echo(target=target, current=found.values(), pushes=pushes, permitted_at=max(permissions, default=None))
