"""Brings the database to this release: Alembic's migrations as the owner, then the role that the services use.

The services' role can add decisions and read them, and can change or delete none: that is what makes the ledger
append-only for every role but the owner's, whose password no service holds. The one exception is an erasure, by
functions of the owner's.
"""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg import errors, sql
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from consent_api.errors import MisconfiguredError
from consent_api.ledger.database import refuse_denied
from consent_api.ledger.tables import FUNCTIONS, GRANTS

log = logging.getLogger(__name__)

_ONE_AT_A_TIME = 0x636F6E73656E74  # "consent": any number that is locked for nothing else.


def migrate(owner: URL, service: URL) -> None:
    """Repeatable, and safe to run from several hosts at once. MisconfiguredError when both URLs name one role."""
    if not service.username or service.username == owner.username:
        raise MisconfiguredError(
            "CONSENT_RELAY_API_DATABASE: must name a role of its own, not the owner of the database."
        )
    engine = create_engine(owner)
    try:
        refuse_denied(engine, "CONSENT_RELAY_API_DATABASE_OWNER")
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _ONE_AT_A_TIME})
            connection.commit()
            upgrade(connection)
            _create_role(connection, service)
            _grant(connection, service.username)
            connection.commit()
    finally:
        engine.dispose()


def upgrade(connection: Connection) -> None:
    """Run the migrations that this database has not seen."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def _config() -> Config:
    config = Config()
    # Configuration text treats % as special, and an installation may be in any directory.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
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
