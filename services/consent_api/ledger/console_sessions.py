"""Sessions of the console: begun with an API key, and over when the key is, or the day, or half an hour of quiet."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from consent_api.ledger.database import CLOCK_MICROS
from consent_api.ledger.key_store import key_of
from consent_http.api_keys import ApiKey, digest_of, parse

SCOPE = "console"
LONGEST_MICROS = 8 * 3600 * 1_000_000
IDLE_MICROS = 30 * 60 * 1_000_000
_NO_KEY = ("", "")
_NO_DIGEST = digest_of("no key of ours")

_KEY = text("""
SELECT key_id, digest, tenant, name, scopes, may_lift FROM api_keys WHERE key_id = :key_id AND revoked_at IS NULL
""")
_BEGIN = text(f"""
INSERT INTO console_sessions (digest, key_id, started_at, seen_at)
SELECT :digest, :key_id, now, now FROM (SELECT {CLOCK_MICROS} AS now) AS clock
""")  # noqa: S608 - constants
# The key is asked for with each page, and not remembered: a revoked one is shut out now.
_GO_ON = text(f"""
UPDATE console_sessions s SET seen_at = {CLOCK_MICROS} FROM api_keys k
WHERE s.digest = :digest AND k.key_id = s.key_id AND k.revoked_at IS NULL
  AND s.started_at > {CLOCK_MICROS} - :longest AND s.seen_at > {CLOCK_MICROS} - :idle
RETURNING k.key_id, k.digest, k.tenant, k.name, k.scopes, k.may_lift
""")  # noqa: S608 - constants
_END = text("DELETE FROM console_sessions WHERE digest = :digest")
_FORGET = text(f"DELETE FROM console_sessions WHERE started_at < {CLOCK_MICROS} - :longest")  # noqa: S608 - constants


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Who is signed in. ``token``: the browser's secret. ``name``: of the API key, as its creator wrote it."""

    key: ApiKey
    name: str
    token: str = field(repr=False)

    @property
    def who(self) -> str:
        """As audit entries and evidence name it."""
        return self.key.who


def find_key(connection: Connection, written: str) -> tuple[ApiKey, str] | None:
    """A live key with the scope `console`, and its name. A key that is none takes as long as one that lacks it."""
    key_id, secret = parse(written.strip()) or _NO_KEY
    row = connection.execute(_KEY, {"key_id": key_id}).one_or_none()
    matches = hmac.compare_digest(row.digest if row is not None else _NO_DIGEST, digest_of(secret))
    if row is None or not matches or SCOPE not in row.scopes:
        return None
    return key_of(row), row.name


def begin(connection: Connection, key: ApiKey, name: str) -> Session:
    """A new session, with a token that no browser had before."""
    token = secrets.token_urlsafe(32)
    connection.execute(_FORGET, {"longest": LONGEST_MICROS})
    connection.execute(_BEGIN, {"digest": _digest(token), "key_id": key.id})
    return Session(key=key, name=name, token=token)


def go_on(connection: Connection, token: str) -> Session | None:
    """The session of a token; None where there is none any more."""
    parameters = {"digest": _digest(token), "longest": LONGEST_MICROS, "idle": IDLE_MICROS}
    row = connection.execute(_GO_ON, parameters).one_or_none()
    return Session(key=key_of(row), name=row.name, token=token) if row is not None else None


def end(connection: Connection, token: str) -> None:
    connection.execute(_END, {"digest": _digest(token)})


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
