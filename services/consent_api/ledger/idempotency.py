"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a request carried out once, however often it is sent.

The first answer is stored in the transaction that carries the request out, so neither exists without the other. A
request under way is known by a lock that ends with its transaction: when its process dies, the key is free again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from consent_api.errors import KeyReusedError, RequestInFlightError
from consent_api.ledger.database import CLOCK_MICROS
from consent_api.ledger.lanes import TIME_LIMITS, Lane
from consent_privacy.keyring import Keyring

KEPT_MICROS = 24 * 3600 * 1_000_000
"""How long an answer is kept at least."""

# A key has as many rows here as its tenant has live hash keys; its lock is taken by the first and met again by others.
_CLAIM = text(f"""
SELECT wanted.number, pg_try_advisory_xact_lock(wanted.lock) AS locked, stored.request_hash, stored.status, stored.body,
       {CLOCK_MICROS} AS now, {TIME_LIMITS}
FROM unnest(CAST(:numbers AS int[]), CAST(:locks AS bigint[]), CAST(:tenants AS text[]), CAST(:hashes AS text[]))
    AS wanted (number, lock, tenant, key_hash)
LEFT JOIN idempotency_keys AS stored USING (tenant, key_hash)
""")  # noqa: S608 - constants
_STORE = text("""
INSERT INTO idempotency_keys (tenant, key_hash, request_hash, status, body, created_at)
SELECT tenant, key_hash, request_hash, status, body, :now
FROM unnest(CAST(:tenants AS text[]), CAST(:keys AS text[]), CAST(:requests AS text[]), CAST(:statuses AS int[]),
            CAST(:bodies AS bytea[])) AS new (tenant, key_hash, request_hash, status, body)
""")
_FORGET = text("""
DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM idempotency_keys WHERE created_at < :before ORDER BY created_at LIMIT :most
    FOR UPDATE SKIP LOCKED))
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to be carried out once: the caller's key, and the bytes that must be the same under the same key."""

    tenant: str
    key: str
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredResponse:
    """A status and a JSON body."""

    status: int
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotencyClaim:
    """A request that has not been carried out, ours until the transaction ends."""

    tenant: str
    key_hashes: Sequence[str]
    """Under each live hash key: another process may hold another for the primary one while they are being changed."""
    request_hash: str


Claimed = IdempotencyClaim | StoredResponse | RequestInFlightError | KeyReusedError


def claim(
    connection: Connection, keyring: Keyring, requests: Sequence[Request], *, lane: Lane, lock_ms: int
) -> tuple[int, list[Claimed]]:
    """The database's clock (micros), and for each request: leave to carry it out, the stored answer to this very
    request, or why neither can be.

    There is a request, and no two have the same tenant and key. Whatever the transaction does next is bound by the
    lane's time limits, and waits no longer than `lock_ms` for another's locks. To be run by `transact`: of two that
    meet, the one that comes second may find a unique index in its way when it stores its answer, and then the first's
    answer when it is run again.
    """
    hashed = [_keyed(keyring, each.tenant, "key", each.key.encode()) for each in requests]
    rows = [(number, key_hash) for number, hashes in enumerate(hashed) for key_hash in hashes]
    found = connection.execute(
        _CLAIM,
        {
            "numbers": [number for number, _ in rows],
            "locks": [_lock(requests[number]) for number, _ in rows],
            "tenants": [requests[number].tenant for number, _ in rows],
            "hashes": [key_hash for _, key_hash in rows],
            **lane.time_limits(lock_ms=lock_ms),
        },
    ).all()
    # The answer is stored under one of the live keys, if at all: that row counts.
    newest = {row.number: row for row in sorted(found, key=lambda row: row.status is not None)}
    claims = [_claimed(keyring, request, hashed[number], newest[number]) for number, request in enumerate(requests)]
    return int(found[0].now), claims


def store(connection: Connection, answered: Sequence[tuple[IdempotencyClaim, StoredResponse]], *, now: int) -> None:
    """Keep the answers, in the transaction that carried the requests out."""
    if not answered:
        return
    rows = [(claim, key_hash, answer) for claim, answer in answered for key_hash in claim.key_hashes]
    connection.execute(
        _STORE,
        {
            "tenants": [claim.tenant for claim, _, _ in rows],
            "keys": [key_hash for _, key_hash, _ in rows],
            "requests": [claim.request_hash for claim, _, _ in rows],
            "statuses": [answer.status for _, _, answer in rows],
            "bodies": [answer.body for _, _, answer in rows],
            "now": now,
        },
    )


def delete_expired(connection: Connection, *, now: int, most: int) -> int:
    """Delete up to `most` answers older than `KEPT_MICROS`, but for those that another process deletes; how many."""
    return connection.execute(_FORGET, {"before": now - KEPT_MICROS, "most": most}).rowcount


def _keyed(keyring: Keyring, tenant: str, kind: str, data: bytes) -> list[str]:
    """Hashes under the tenant's live keys, the primary's first: a plain hash of a body that holds a phone number
    reveals the number to anyone who tries them all. (No channel has a blank in its name.)"""
    digest = hashlib.sha256(data).hexdigest()
    return list(keyring.live_address_keys(tenant, f"idempotency {kind}", digest))


def _claimed(keyring: Keyring, request: Request, key_hashes: Sequence[str], row: Row[Any]) -> Claimed:
    hashes = _keyed(keyring, request.tenant, "request", request.content)
    if row.status is None:
        if not row.locked:
            return RequestInFlightError()
        return IdempotencyClaim(tenant=request.tenant, key_hashes=key_hashes, request_hash=hashes[0])
    if row.request_hash not in hashes:
        return KeyReusedError()
    return StoredResponse(status=row.status, body=bytes(row.body))


def _lock(request: Request) -> int:
    name = f"{request.tenant}\0{request.key}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big", signed=True)
