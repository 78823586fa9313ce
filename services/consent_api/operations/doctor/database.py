"""Asks the database what its judgements need, with the role of the services."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from consent_api.errors import LedgerUnavailableError
from consent_api.ledger import backlog, key_store
from consent_api.ledger.database import connect, refuse_denied, transact
from consent_api.ledger.lanes import Lane
from consent_api.ledger.schema_version import REQUIRED_SCHEMA_VERSION
from consent_api.ledger.tables import FUNCTIONS, GRANTS
from consent_api.monitors import clock_offset
from consent_api.operations.doctor.ledger import (
    DATABASE,
    KeyAge,
    ServerFacts,
    judge_api_keys,
    judge_clock,
    judge_outbox,
    judge_partitions,
    judge_server,
)
from consent_api.operations.doctor.privileges import RoleFacts, judge_role, parse_grants
from consent_api.settings import LedgerSettings
from consent_service.doctor.findings import Finding, Result

_DAY_MICROS = 86_400_000_000
_ATTRIBUTES = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}
_SERVER = text(
    "SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS standby,"
    " current_setting('fsync')::bool AND current_setting('full_page_writes')::bool AS durable,"
    # Between processes of one host nothing is on a network.
    " coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)"
    " OR coalesce(inet_client_addr() = inet_server_addr(), true) AS encrypted,"
    " coalesce(has_table_privilege(to_regclass('alembic_version'), 'SELECT'), false) AS has_version"
)
_SCHEMA_VERSION = text("SELECT max(version_num) FROM alembic_version")
_ROLE = text(
    "SELECT current_user AS name, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,"
    " ARRAY(SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
    "       WHERE m.member = me.oid) AS member_of,"
    " ARRAY(SELECT relname::text FROM pg_class WHERE relowner = me.oid AND relkind IN ('r', 'p', 'v', 'm', 'S')) ||"
    " ARRAY(SELECT proname::text FROM pg_proc WHERE proowner = me.oid) AS owns,"
    " coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS creates"
    " FROM pg_roles me WHERE rolname = current_user"
)
_TABLES = text(
    "SELECT c.relname AS name, p.privilege"
    " FROM pg_class c CROSS JOIN"
    " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p(privilege)"
    " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')"
    " AND has_table_privilege(c.oid, p.privilege)"
    " UNION ALL"
    " SELECT c.relname, format('%s (%s)', p.privilege, a.attname)"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p(privilege)"
    " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')"
    " AND has_column_privilege(c.oid, a.attnum, p.privilege) AND NOT has_table_privilege(c.oid, p.privilege)"
)
_PARTITIONS = text("SELECT lane, count(*) FROM relay_partitions GROUP BY lane")
_FUNCTIONS = text(
    "SELECT signature FROM unnest(cast(:signatures AS text[])) AS asked(signature)"
    " WHERE has_function_privilege(to_regprocedure(signature), 'EXECUTE')"
)


def find_in_database(settings: LedgerSettings, *, clock: Callable[[], int], secret_days: float) -> list[Finding]:
    """One connection, and everything that is asked over it. Raises LinkRefusedError where the server refuses us."""
    engine = connect(settings.database, pool_size=1, application="consent-relay doctor")
    try:
        refuse_denied(engine)
        return transact(
            engine, lambda connection: _find(connection, settings.partitions, clock, secret_days), attempts=1
        )
    except (LedgerUnavailableError, DBAPIError) as error:
        cure = "check CONSENT_RELAY_API_DATABASE, and that PostgreSQL runs"
        why = str(error) if isinstance(error, LedgerUnavailableError) else type(error.orig).__name__
        return [Finding(name=DATABASE, result=Result.FAULT, found=why, cure=cure)]
    finally:
        engine.dispose()


def _find(connection: Connection, partitions: int, clock: Callable[[], int], secret_days: float) -> list[Finding]:
    server = server_facts(connection)
    found = [*judge_server(server, required=REQUIRED_SCHEMA_VERSION), judge_clock(clock_offset(connection, clock))]
    found += judge_role(role_facts(connection), parse_grants(GRANTS), FUNCTIONS)
    if server.schema_version is None or server.schema_version < REQUIRED_SCHEMA_VERSION or not _readable(connection):
        return found  # What is left is asked of tables that may not be there, or not be ours to read.
    recorded = {lane: int(number) for lane, number in connection.execute(_PARTITIONS)}
    found += judge_partitions(recorded, partitions)
    backlogs = {lane.value: backlog.outbox(connection, lane) for lane in Lane}
    found += judge_outbox(backlogs, {lane.value: backlog.resolved_age(connection, lane) for lane in Lane})
    now = clock()
    keys = [
        KeyAge(id=each.id, tenant=each.tenant, days=(now - each.created_at) / _DAY_MICROS)
        for each in key_store.list_keys(connection)
        if each.revoked_at is None
    ]
    return [*found, *judge_api_keys(keys, secret_days)]


def server_facts(connection: Connection) -> ServerFacts:
    """Of the server, and of the newest migration."""
    row = connection.execute(_SERVER).one()
    version = connection.execute(_SCHEMA_VERSION).scalar_one_or_none() if row.has_version else None
    return ServerFacts(
        version=row.version,
        encrypted=row.encrypted,
        standby=row.standby,
        durable=row.durable,
        schema_version=version,
    )


def role_facts(connection: Connection) -> RoleFacts:
    """Of the role of this connection; what it has by membership and from PUBLIC counts as its own."""
    row = connection.execute(_ROLE).one()
    tables: dict[str, frozenset[str]] = {}
    for name, privilege in connection.execute(_TABLES):
        tables[name] = tables.get(name, frozenset()) | {privilege}
    functions = connection.execute(_FUNCTIONS, {"signatures": list(FUNCTIONS)}).scalars().all()
    return RoleFacts(
        name=row.name,
        attributes=[name for column, name in _ATTRIBUTES.items() if getattr(row, column)],
        member_of=row.member_of,
        owns=row.owns,
        creates=row.creates,
        tables=tables,
        functions=functions,
    )


def _readable(connection: Connection) -> bool:
    names = ("outbox", "outbox_bulk", "relay_partitions", "api_keys")
    asked = text("SELECT bool_and(has_table_privilege(name, 'SELECT')) FROM unnest(cast(:names AS text[])) AS t(name)")
    return bool(connection.execute(asked, {"names": list(names)}).scalar_one())
