"""The one text that confirms a STOP: a token that lets it through, once (R18).

A token is the id of the withdrawal and a keyed hash of it, so none is stored before it is used. What is stored is the
use: one row an address that the STOP reached, taken by one statement, whichever gate asks.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from consent_api.domain.addresses import Named
from consent_api.ledger import database
from consent_privacy.keyring import Keyring

LIFETIME_MICROS = 300_000_000
"""From the recording of the withdrawal: 47 CFR 64.1200(a)(12)."""
USED_AGAIN_AFTER_MICROS = 24 * 3600 * 1_000_000
"""A person who writes STOP twice is answered once."""
_USE = "allow once"

# A withdrawal by the person's own message alone is confirmed.
_CONFIRMED = """
FROM address_keys k JOIN decision_addresses r USING (address_id) JOIN decisions d USING (decision_id)
WHERE k.tenant = :tenant AND k.channel = :channel AND k.address_key = ANY(CAST(:address_keys AS text[]))
  AND d.status = 'withdrawn' AND d.evidence ->> 'capture_method' = 'reply' AND d.recorded_at > :since
"""
_NEWEST = text(f"""
SELECT d.decision_id::text AS decision_id, d.recorded_at {_CONFIRMED}
  AND NOT EXISTS (SELECT FROM allow_once_uses u WHERE u.address_id = k.address_id AND u.used_at > :again)
ORDER BY d.recorded_at DESC, d.decision_id DESC LIMIT 1
""")  # noqa: S608 - constants
# At every address that the STOP reached: the other forms of a number are the same telephone. Of two that come at once
# the second finds the first one's rows; their order keeps them from deadlocking.
_TAKE = text(f"""
INSERT INTO allow_once_uses (address_id, decision_id, used_at)
SELECT o.address_id, o.decision_id, :now FROM decision_addresses o
WHERE o.decision_id IN (SELECT d.decision_id {_CONFIRMED} AND d.decision_id = CAST(:decision_id AS uuid))
ORDER BY o.address_id
ON CONFLICT (address_id) DO UPDATE SET decision_id = excluded.decision_id, used_at = excluded.used_at
WHERE allow_once_uses.used_at <= :again
RETURNING address_id IN (
    SELECT n.address_id FROM address_keys n
    WHERE n.tenant = :tenant AND n.channel = :channel AND n.address_key = ANY(CAST(:address_keys AS text[]))
) AS asked
""")  # noqa: S608 - constants


@dataclass(frozen=True, kw_only=True, slots=True)
class AllowOnce:
    """``expires_at`` in micros."""

    token: str
    expires_at: int


def issue(connection: Connection, keyring: Keyring, named: Named) -> AllowOnce | None:
    """The token for the newest STOP of an address; None: there is none, it is older than five minutes, or a text has
    been let through already."""
    tenant, channel, _ = named
    row = connection.execute(
        _NEWEST, _where(tenant, channel, keyring.live_address_keys(*named), database.clock(connection))
    ).one_or_none()
    if row is None:
        return None
    token = f"{row.decision_id}.{keyring.address_key(tenant, _USE, row.decision_id)}"
    return AllowOnce(token=token, expires_at=row.recorded_at + LIFETIME_MICROS)


def redeem(
    connection: Connection, keyring: Keyring, *, tenant: str, channel: str, address_key: str, token: str
) -> bool:
    """Whether the text may go out now: True once, to the first that asks."""
    decision_id, _, mark = token.partition(".")
    try:
        decision_id = str(UUID(decision_id))
    except ValueError:
        return False
    expected = keyring.live_address_keys(tenant, _USE, decision_id)
    if not any([hmac.compare_digest(mark.encode("utf-8", "replace"), each.encode()) for each in expected]):  # noqa: C419
        return False
    now = database.clock(connection)
    taken = connection.execute(
        _TAKE, {**_where(tenant, channel, [address_key], now), "decision_id": decision_id, "now": now}
    )
    return any(row.asked for row in taken)


def _where(tenant: str, channel: str, address_keys: Sequence[str], now: int) -> dict[str, object]:
    return {
        "tenant": tenant,
        "channel": channel,
        "address_keys": list(address_keys),
        "since": now - LIFETIME_MICROS,
        "again": now - USED_AGAIN_AFTER_MICROS,
    }
