"""The connection pool, and transactions that are tried again when PostgreSQL reports that this helps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from consent_api.errors import LedgerContendedError, LedgerUnavailableError, TransactionTooLongError
from consent_service.errors import LinkRefusedError
from consent_service.retry import Backoff

T = TypeVar("T")

CLOCK_MICROS = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""SQL: the database's clock, in micros."""
_CLOCK = text(f"SELECT {CLOCK_MICROS}")

ATTEMPTS = 8
_BACKOFF = Backoff((0.01, 0.02, 0.04, 0.08, 0.16, 0.25), jitter=1.0)

# Serialisation failure, deadlock, two writers that met at a unique index, and one that met an erasure at a foreign key:
# the second run sees the first's rows.
_CONTENDED = frozenset({"40001", "40P01", "23505", "23503"})
_LOCKED = "55P03"
# The transaction's time was up, or a statement's, or ours between two statements: PostgreSQL has ended it, with the
# session or without.
_TOO_LONG = frozenset({"25P03", "25P04", "57014"})
# Connection lost, out of resources, shut down, system error, and a server that has become a standby.
_UNAVAILABLE_CLASSES = frozenset({"08", "53", "57", "58"})
# A value that its type does not have, a row that breaks a constraint, more than an index or a row takes.
_VALUE_CLASSES = frozenset({"22", "23", "54"})
_STANDBY = "25006"

# What libpq and PostgreSQL write where a new connection is refused for good, and what to correct then: libpq gives no
# codes before there is a session. A server that writes another language (lc_messages) is taken for one that does not
# answer.
_REFUSALS = {
    "does not match host name": "connect to a name that the server's certificate has",
    # libpq has one text for both.
    "certificate verify failed": "correct sslrootcert, where another authority has signed the server's certificate, or"
    " renew that certificate, where it has expired",
    "root certificate file": "correct sslrootcert: it names no file that can be read here",
    "root.crt": "name the authority's file as sslrootcert",
    "server does not support SSL": "set ssl=on at the server",
    "no pg_hba.conf entry": "permit this role, host and encryption in pg_hba.conf, or set sslmode=verify-full",
    "pg_hba.conf rejects": "permit this role, host and encryption in pg_hba.conf, or set sslmode=verify-full",
    "requires a valid client certificate": "set sslcert and sslkey",
    " alert ": "correct sslcert and sslkey: the server refuses our certificate",
    "could not load private key file": "correct sslkey",
    "private key file": "correct sslkey",
    "certificate file": "correct sslcert",
    "authentication failed": "correct the role or its password",
    "no password supplied": "give the role's password",
    "is not permitted to log in": "name a role that may log in",
    "permission denied for database": "grant CONNECT on the database to the role",
    "invalid sslmode value": "set sslmode=verify-full",
}

_OPTIONS = " ".join(
    (
        # A process that is frozen in the middle of a transaction holds locks on subjects: PostgreSQL ends it.
        "-c statement_timeout=15000 -c lock_timeout=8000 -c idle_in_transaction_session_timeout=10000",
        # What the code rests on, whatever the server's or the role's defaults are: who waited for a subject's lock sees
        # what its last holder wrote, and an answer that was given is on disk.
        "-c default_transaction_isolation=read\\ committed -c synchronous_commit=on",
    )
)


def connect(url: URL, *, pool_size: int, application: str) -> Engine:
    """A pool that finds out about dead connections before it lends them, so a restart of the server heals itself."""
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5.0,
        pool_use_lifo=True,
        # A statement that fails must not put its parameters into a log.
        hide_parameters=True,
        # A server that vanished without a word is noticed within ten seconds, not within TCP's fifteen minutes.
        connect_args={
            "connect_timeout": 3,
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 4,
            "keepalives_interval": 3,
            "keepalives_count": 2,
            "options": _OPTIONS,
            "application_name": application,
        },
    )


def refuse_denied(engine: Engine, setting: str = "CONSENT_RELAY_API_DATABASE") -> None:
    """Raises LinkRefusedError where the server refuses this role, or where its certificate is refused; goes on while it
    does not answer. ``setting`` holds the engine's URL."""
    try:
        engine.connect().close()
    except (OperationalError, PoolTimeout) as error:
        text = str(getattr(error, "orig", error))
        cure = next((cure for part, cure in _REFUSALS.items() if part in text), None)
        if cure is not None:
            raise LinkRefusedError(f"{setting}: {' '.join(text.split())}: {cure}") from None
    except ProgrammingError as error:
        raise LinkRefusedError(f"{setting}: {' '.join(str(error.orig).split())}: correct the URL") from None


def clock(connection: Connection) -> int:
    """The database's clock, in micros: what every recorded time comes from (docs/decisions/0013)."""
    return int(connection.execute(_CLOCK).scalar_one())


def transact(
    engine: Engine,
    work: Callable[[Connection], T],
    *,
    attempts: int = ATTEMPTS,
    limit_seconds: float = math.inf,
) -> T:
    """``work`` in one transaction, committed before this returns; run again, from the start, when contended.

    Raises LedgerContendedError or TransactionTooLongError, and LedgerUnavailableError when the database does not
    answer: then nothing was acknowledged, and although a commit whose answer was lost may have taken place, the caller
    repeats it under the same ids and is answered as a replay. ``limit_seconds`` is the transaction_timeout that
    ``work`` sets: when PostgreSQL ends a session for it, the reason may be lost with the connection.
    """
    for attempt in range(1, attempts + 1):
        began = math.inf
        try:
            with engine.begin() as connection:
                began = time.monotonic()
                return work(connection)
        except PoolTimeout:
            raise LedgerUnavailableError("all connections to the database are busy") from None
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state in _CONTENDED:
                if attempt == attempts:
                    raise LedgerContendedError(f"the database stayed contended ({state})") from None
            elif state == _LOCKED:
                raise LedgerContendedError("another transaction holds what this one needs") from None
            elif state in _TOO_LONG or (state is None and time.monotonic() - began >= limit_seconds):
                raise TransactionTooLongError("the transaction took longer than it may") from None
            elif _is_unavailable(error, state):
                reason = state or type(error.orig).__name__
                raise LedgerUnavailableError(f"the database does not answer ({reason})") from None
            else:
                raise
        time.sleep(_BACKOFF.seconds(attempt))
    raise AssertionError("unreachable")


def refusal(error: DBAPIError) -> str | None:
    """PostgreSQL's error about values that it cannot hold, as a code; None where the values are not to blame. The same
    statement is refused again and again."""
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state if state[:2] in _VALUE_CLASSES else None
    return type(error.orig).__name__ if isinstance(error, DataError) else None


def _is_unavailable(error: DBAPIError, state: str | None) -> bool:
    if error.connection_invalidated:
        return True
    if state is None:
        return isinstance(error, OperationalError | InterfaceError)
    return state == _STANDBY or state[:2] in _UNAVAILABLE_CLASSES
