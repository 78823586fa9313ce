"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a request carried out once, however often it is sent.

The first answer is stored in the transaction that carries the request out, so one never stands without the other. A
request under way is known by a lock that ends with its transaction: when its process dies, the key is free again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from consent_api.errors import DoorError
from consent_runtime.keyring import Keyring

KEPT_MICROS = 24 * 3600 * 1_000_000
"""How long an answer is kept at least."""

_CLAIM = text("""
SELECT pg_try_advisory_xact_lock(:lock) AS locked, stored.request_hash, stored.status, stored.body
FROM (SELECT 1) AS one
LEFT JOIN idempotency_keys AS stored ON stored.tenant = :tenant AND stored.key_hash = ANY(CAST(:hashes AS text[]))
""")
_STORE = text("""
INSERT INTO idempotency_keys (tenant, key_hash, request_hash, status, body, created_at)
VALUES (:tenant, :key_hash, :request_hash, :status, :body, :now)
""")
_FORGET = text("""
DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM idempotency_keys WHERE created_at < :before ORDER BY created_at LIMIT :most))
""")


class InFlight(DoorError):
    """A request with this key is being carried out now."""


class KeyReused(DoorError):
    """This key was used for another request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A status and a JSON body."""

    status: int
    body: bytes


def once(
    connection: Connection,
    keyring: Keyring,
    *,
    tenant: str,
    key: str,
    request: bytes,
    now: int,
    work: Callable[[], Answer],
) -> Answer:
    """The stored answer to this very request, or that of ``work``, which is stored. InFlight, KeyReused.

    To be run by `transact`: of two that meet, the one that comes second may be told so by a unique index, and then
    finds the stored answer when it is run again.
    """
    hashes = _keyed(keyring, tenant, "key", key.encode())
    requests = _keyed(keyring, tenant, "request", request)
    lock = int.from_bytes(hashlib.sha256(f"{tenant}\0{key}".encode()).digest()[:8], "big", signed=True)
    claim = connection.execute(_CLAIM, {"lock": lock, "tenant": tenant, "hashes": hashes}).first()
    assert claim is not None
    if not claim.locked:
        raise InFlight("a request with this Idempotency-Key is being carried out")
    if claim.status is not None:
        if claim.request_hash not in requests:
            raise KeyReused("this Idempotency-Key was used for another request")
        return Answer(status=claim.status, body=bytes(claim.body))
    answer = work()
    connection.execute(
        _STORE,
        {
            "tenant": tenant,
            "key_hash": hashes[0],
            "request_hash": requests[0],
            "status": answer.status,
            "body": answer.body,
            "now": now,
        },
    )
    return answer


def forget(connection: Connection, *, now: int, most: int = 10_000) -> int:
    """Delete answers older than `KEPT_MICROS`, a bounded number at a time; how many."""
    return connection.execute(_FORGET, {"before": now - KEPT_MICROS, "most": most}).rowcount


def _keyed(keyring: Keyring, tenant: str, kind: str, data: bytes) -> list[str]:
    """Hashes under the tenant's live keys, the primary's first: a plain hash of a body that holds a phone number
    gives the number away to whoever tries them all. (No channel has a blank in its name.)"""
    digest = hashlib.sha256(data).hexdigest()
    return list(keyring.live_address_keys(tenant, f"idempotency {kind}", digest))
