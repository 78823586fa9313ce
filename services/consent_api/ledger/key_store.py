"""API keys in the ledger's database: made, listed, revoked and exported by command, looked up by the API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, any_, delete, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert

from consent_api.ledger.database import transact
from consent_api.ledger.tables import api_keys, key_exports
from consent_http.api_keys import ApiKey, mint, parse, write

CACHED_SECONDS = 5.0
"""A revoked key is refused after this long at the latest."""

_ONE_AT_A_TIME = text("LOCK TABLE key_exports IN EXCLUSIVE MODE")
"""Until the transaction ends: an export that runs beside a revocation would write the key that it has read before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKeyInfo:
    """A key as `keys list` shows it; times in microseconds, UTC."""

    id: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    may_lift: bool
    created_at: int
    revoked_at: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyExport:
    """A file that `keys export` wrote, on which host and for which scope; the time in microseconds, UTC."""

    host: str
    path: Path
    scope: str
    exported_at: int


def create(
    connection: Connection, *, tenant: str, scopes: Iterable[str], name: str, now: int, may_lift: bool = True
) -> str:
    """Store a new key; its token is returned this once. Not ``may_lift``: its permissions lift no refusal."""
    token, key = mint(tenant=tenant, scopes=scopes, may_lift=may_lift)
    connection.execute(
        api_keys.insert().values(
            key_id=key.id,
            digest=key.digest,
            tenant=tenant,
            name=name,
            scopes=sorted(key.scopes),
            may_lift=key.may_lift,
            created_at=now,
        )
    )
    return token


def list_keys(connection: Connection, *, tenant: str | None = None) -> list[ApiKeyInfo]:
    """All keys, or one tenant's, the oldest first."""
    query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)
    if tenant is not None:
        query = query.where(api_keys.c.tenant == tenant)
    return [
        ApiKeyInfo(
            id=row.key_id,
            tenant=row.tenant,
            name=row.name,
            scopes=tuple(row.scopes),
            may_lift=row.may_lift,
            created_at=row.created_at,
            revoked_at=row.revoked_at,
        )
        for row in connection.execute(query)
    ]


def revoke(connection: Connection, key_id: str, *, now: int) -> bool:
    """False when no live key has this id."""
    connection.execute(_ONE_AT_A_TIME)
    live = (api_keys.c.key_id == key_id) & api_keys.c.revoked_at.is_(None)
    return connection.execute(update(api_keys).where(live).values(revoked_at=now)).rowcount == 1


def tenant_of(connection: Connection, key_id: str) -> str | None:
    """None when there never was such a key."""
    return connection.execute(select(api_keys.c.tenant).where(api_keys.c.key_id == key_id)).scalar_one_or_none()


def export(connection: Connection, *, scope: str, path: Path, host: str, now: int) -> int:
    """Write the digests of the live keys with ``scope`` to ``path``; how many there were. The file is remembered,
    so that `keys revoke` can name it later."""
    connection.execute(_ONE_AT_A_TIME)
    live = api_keys.c.revoked_at.is_(None) & (literal(scope) == any_(api_keys.c.scopes))
    keys = [key_of(row) for row in connection.execute(select(api_keys).where(live).order_by(api_keys.c.key_id))]
    path = path.resolve()
    write(path, keys)
    stored = insert(key_exports).values(host=host, path=str(path), scope=scope, exported_at=now)
    connection.execute(
        stored.on_conflict_do_update(
            index_elements=["host", "path"], set_={"scope": stored.excluded.scope, "exported_at": now}
        )
    )
    return len(keys)


def exports_of(connection: Connection, key_id: str) -> list[KeyExport]:
    """The files that were written for a scope of this key."""
    query = (
        select(key_exports)
        .join(api_keys, key_exports.c.scope == any_(api_keys.c.scopes))
        .where(api_keys.c.key_id == key_id)
        .order_by(key_exports.c.host, key_exports.c.path)
    )
    return [
        KeyExport(host=row.host, path=Path(row.path), scope=row.scope, exported_at=row.exported_at)
        for row in connection.execute(query)
    ]


def forget_export(connection: Connection, *, host: str, path: Path) -> bool:
    """False when no such file is remembered."""
    named = (key_exports.c.host == host) & (key_exports.c.path == str(path))
    return connection.execute(delete(key_exports).where(named)).rowcount == 1


class ApiKeyStore:
    """Looks keys up for the API, and remembers what it found for a few seconds. Thread-safe."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, ApiKey]] = {}

    def find(self, token: str | None) -> ApiKey | None:
        """The key whose token this is, or None. LedgerUnavailableError when it has to be looked up and cannot."""
        parsed = parse(token or "")
        if parsed is None:
            return None
        key = self._look_up(parsed[0])
        return key if key is not None and key.matches(parsed[1]) else None

    def cached(self, token: str | None) -> ApiKey | None:
        """As `find`, from memory alone."""
        parsed = parse(token or "")
        if parsed is None:
            return None
        with self._lock:
            until, key = self._known.get(parsed[0], (0.0, None))
        return key if key is not None and self._clock() < until and key.matches(parsed[1]) else None

    def has_known(self, token: str | None) -> bool:
        """Whether this was the token of a key when it was last looked up."""
        parsed = parse(token or "")
        if parsed is None:
            return False
        with self._lock:
            _, key = self._known.get(parsed[0], (0.0, None))
        return key is not None and key.matches(parsed[1])

    def _look_up(self, key_id: str) -> ApiKey | None:
        live = (api_keys.c.key_id == key_id) & api_keys.c.revoked_at.is_(None)
        row = transact(self._engine, lambda connection: connection.execute(select(api_keys).where(live)).one_or_none())
        with self._lock:
            # Only keys that exist are remembered: invented ones cannot fill the memory.
            if row is None:
                self._known.pop(key_id, None)
                return None
            key = key_of(row)
            self._known[key_id] = (self._clock() + CACHED_SECONDS, key)
            return key


def key_of(row: Row[Any]) -> ApiKey:
    """`row` has the columns of `api_keys`."""
    return ApiKey(
        id=row.key_id, digest=row.digest, tenant=row.tenant, scopes=frozenset(row.scopes), may_lift=row.may_lift
    )
