"""Brings the database to this release: Alembic's migrations as the owner, then the role that the services use.

The services' role can add decisions and read them, and can change or delete none: that is what makes the ledger
append-only for every role but the owner's, whose password no service holds. The one exception is an erasure, by
functions of the owner's.

A migration that waits for a lock makes every later user of the table wait, too. So it waits for seconds, gives up, lets
them pass, and tries again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from psycopg import errors, sql
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from consent_api.errors import MigrationBlockedError, MisconfiguredError
from consent_api.ledger.database import refuse_denied
from consent_api.ledger.migration_locks import BlockingSessions, blocking_sessions
from consent_api.ledger.tables import FUNCTIONS, GRANTS
from consent_service.retry import Backoff, Failure, retry

log = logging.getLogger(__name__)

_ONE_AT_A_TIME = 0x636F6E73656E74  # "consent": any number that is locked for nothing else.


ATTEMPTS = 10
BACKOFF = Backoff((1.0, 2.0, 4.0, 8.0))
_OTHER_MIGRATE_SECONDS = 0.5
MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(
    owner: URL,
    service: URL,
    *,
    lock_timeout_seconds: float = 3.0,
    report: Callable[[str], None] = log.warning,
    backoff: Backoff = BACKOFF,
    further: Sequence[Path] = (),
) -> tuple[str | None, str | None]:
    """The schema's version before and after. Repeatable, and safe to run from several hosts at once; it goes on where
    an interrupted one stopped.

    `report` is called with a line for each try that found a lock taken. `further` are directories with migrations that
    follow ours. MisconfiguredError when both URLs name one role; MigrationBlockedError after ATTEMPTS tries.
    """
    if not service.username or service.username == owner.username:
        raise MisconfiguredError(
            "CONSENT_RELAY_API_DATABASE: must name a role of its own, not the owner of the database."
        )
    options = {
        "application_name": "consent-relay migrate",
        "options": f"-c lock_timeout={round(lock_timeout_seconds * 1000)}",
    }
    engine = create_engine(owner, connect_args=options)
    try:
        refuse_denied(engine, "CONSENT_RELAY_API_DATABASE_OWNER")
        with engine.connect() as connection:
            _wait_for_other_migrate(connection, report)
            before = _version(connection)
            pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
            with blocking_sessions(engine, pid) as sessions:
                retry(
                    lambda: _bring_up_to_date(connection, service, further),
                    on=OperationalError,
                    backoff=backoff,
                    stop=threading.Event(),
                    report=lambda failure: _note_blocked(failure, sessions, report),
                )
            return before, _version(connection)
    finally:
        engine.dispose()


def _wait_for_other_migrate(connection: Connection, report: Callable[[str], None]) -> None:
    """Without a transaction: an index that the other one makes concurrently would wait for its end, and we for the
    other's."""
    waits = False
    while not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _ONE_AT_A_TIME}).scalar_one():
        connection.commit()
        if not waits:
            report("another migrate works on this database: waiting for its end")
        waits = True
        time.sleep(_OTHER_MIGRATE_SECONDS)
    connection.commit()


def _note_blocked(
    failure: Failure[OperationalError], sessions: BlockingSessions, report: Callable[[str], None]
) -> None:
    if not isinstance(failure.error.orig, (errors.LockNotAvailable, errors.DeadlockDetected)):
        raise failure.error
    who = sessions.take()
    if failure.count == ATTEMPTS:
        raise MigrationBlockedError(who)
    report(f"try {failure.count} of {ATTEMPTS}: a table is locked by {who}; nothing waits for us meanwhile")


def _bring_up_to_date(connection: Connection, service: URL, further: Sequence[Path]) -> None:
    try:
        _upgrade(connection, further)
        _create_role(connection, service)
        _grant(connection, str(service.username))
        connection.commit()
    finally:
        connection.rollback()


def _upgrade(connection: Connection, further: Sequence[Path]) -> None:
    """Run the migrations that this database has not seen, each in its own transaction."""
    config = configuration(further)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def _version(connection: Connection) -> str | None:
    found = MigrationContext.configure(connection).get_current_revision()
    connection.commit()
    return found


def configuration(further: Sequence[Path] = ()) -> Config:
    """Alembic's, for our migrations and those in the directories `further`."""
    config = Config()
    locations = "\n".join(map(str, (MIGRATIONS / "versions", *further)))
    # Configuration text treats % as special, and an installation may be in any directory.
    for option, value in (("script_location", str(MIGRATIONS)), ("version_locations", locations)):
        config.set_main_option(option, value.replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config


def _create_role(connection: Connection, service: URL) -> None:
    name = str(service.username)
    found = connection.execute(
        text("SELECT rolsuper FROM pg_roles WHERE rolname = :name"), {"name": name}
    ).one_or_none()
    if found is not None:
        if found.rolsuper:
            raise MisconfiguredError(
                f"CONSENT_RELAY_API_DATABASE: role {name} is a superuser and could change the ledger."
            )
        if service.password and not _lets_in(service):
            _change_password(connection, service)
        return
    statement = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE").format(sql.Identifier(name))
    if service.password:
        statement += sql.SQL(" PASSWORD {}").format(_verifier(connection, service))
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(_rendered(connection, statement))
    except ProgrammingError as error:
        # Roles belong to the cluster: another database's migration may have just created this one.
        if not isinstance(error.orig, errors.DuplicateObject):
            raise


def _lets_in(service: URL) -> bool:
    """Whether the role's password is that of the URL."""
    engine = create_engine(service, poolclass=NullPool, connect_args={"connect_timeout": 5})
    try:
        engine.connect().close()
    except OperationalError:
        return False
    finally:
        engine.dispose()
    return True


def _change_password(connection: Connection, service: URL) -> None:
    """The URL has a newer password than the role: one that was rotated."""
    name = str(service.username)
    statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), _verifier(connection, service))
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(_rendered(connection, statement))
    except ProgrammingError as error:
        if not isinstance(error.orig, errors.InsufficientPrivilege):
            raise
        raise MisconfiguredError(
            f"CONSENT_RELAY_API_DATABASE: role {name} cannot log in with this password, and the owner of the database"
            " may not change it: have an administrator do so."
        ) from None
    log.warning("the role did not let its own URL in: its password was changed", extra={"role": name})


def _verifier(connection: Connection, service: URL) -> sql.Literal:
    """What PostgreSQL keeps of the password. Made here, as psql's \\password does: a statement with the password itself
    would be in the server's log and in its statistics."""
    pgconn = connection.connection.driver_connection.pgconn  # type: ignore[union-attr]
    made = pgconn.encrypt_password(str(service.password).encode(), str(service.username).encode(), b"scram-sha-256")
    return sql.Literal(made.decode("ascii"))


def _grant(connection: Connection, role: str) -> None:
    name = sql.Identifier(role)
    for table, privileges in GRANTS.items():
        on = sql.Identifier(table)
        for statement in (
            sql.SQL("REVOKE ALL ON {} FROM {}").format(on, name),
            sql.SQL(f"GRANT {privileges} ON {{}} TO {{}}").format(on, name),
        ):
            connection.exec_driver_sql(_rendered(connection, statement))
    for function in FUNCTIONS:
        connection.exec_driver_sql(
            _rendered(connection, sql.SQL(f"GRANT EXECUTE ON FUNCTION {function} TO {{}}").format(name))
        )
    sequences = sql.SQL("GRANT USAGE ON SEQUENCE address_id_seq TO {}").format(name)
    connection.exec_driver_sql(_rendered(connection, sequences))


def _rendered(connection: Connection, statement: sql.Composable) -> str:
    # The driver reads % as the start of a parameter.
    return statement.as_string(connection.connection.driver_connection).replace("%", "%%")
