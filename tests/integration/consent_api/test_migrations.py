"""The database as `migrate` leaves it, and what the services' role may not do there."""

from __future__ import annotations

from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import URL, Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from consent_api.errors import MisconfiguredError
from consent_api.ledger import tables
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.migrate import migrate
from consent_api.ledger.schema_version import REQUIRED_SCHEMA_VERSION
from consent_api.monitors import ClockMonitor, DatabaseMonitor
from consent_service.health import Health


def test_the_tables_in_code_are_those_that_the_migrations_make(owner_engine: Engine) -> None:
    with owner_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, tables.metadata)
    assert differences == []


def test_the_schema_version_that_processes_require_is_the_newest_migration(owner_engine: Engine) -> None:
    with owner_engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == REQUIRED_SCHEMA_VERSION


def test_migrate_may_be_repeated(owner: URL, service: URL) -> None:
    migrate(owner, service)


def test_a_rotated_password_is_applied_and_none_is_in_a_statement(owner: URL, service: URL) -> None:  # R42
    """The server writes statements into its log."""
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        statements.append(f"{statement} {parameters}")

    role, first, second = f"svc_{uuid4().hex[:12]}", "first % ' secret", "second é secret"
    one, other = (owner.set(username=role, password=each) for each in (first, second))
    event.listen(Engine, "before_cursor_execute", note)
    try:
        migrate(owner, one)
        assert lets_in(one)
        migrate(owner, other)
        assert lets_in(other)
        assert not lets_in(one)
        migrate(owner, other)
        assert lets_in(other)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        engine = create_engine(owner)
        with engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
        engine.dispose()
    assert sum("SCRAM-SHA-256$" in each for each in statements) == 2, "created once, changed once"
    assert not any("secret" in each for each in statements)


def lets_in(url: URL) -> bool:
    engine = create_engine(url, poolclass=NullPool)
    try:
        engine.connect().close()
    except OperationalError:
        return False
    finally:
        engine.dispose()
    return True


def test_the_services_may_not_use_the_owner_role(owner: URL) -> None:
    with pytest.raises(MisconfiguredError, match="CONSENT_RELAY_API_DATABASE"):
        migrate(owner, owner)


@pytest.mark.parametrize(
    "statement",
    [
        *(
            f"{change} {table}{rest}"
            for table in ("decisions", "live_repeats", "decision_addresses", "receipts", "addresses", "address_keys")
            for change, rest in [("DELETE FROM", ""), ("TRUNCATE", " CASCADE")]
        ),
        "UPDATE decisions SET status = 'given'",
        "UPDATE decisions SET evidence = '{}'",
        "UPDATE decisions SET bulk = false",
        "UPDATE live_repeats SET repeated_at = 0",
        "UPDATE decision_addresses SET reached_at = 0",
        "UPDATE receipts SET stage = 'accepted'",
        "UPDATE address_keys SET sealed_address = ''",
        "UPDATE addresses SET channel = 'x'",
        "UPDATE subjects SET subject_ref = 'other'",
        "UPDATE subject_addresses SET linked_at = 0",
        "INSERT INTO api_keys VALUES ('x', 'x', 'acme', 'x', '{submit}', true, 0, NULL)",
        "SELECT path FROM key_exports",
        "ALTER TABLE decisions DISABLE TRIGGER ALL",
        "DROP TABLE decisions",
        "CREATE TABLE mine (id int)",
        "SET session_replication_role = replica",
    ],
)
def test_the_services_role_cannot_change_the_record(engine: Engine, statement: str) -> None:
    with engine.connect() as connection, pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        connection.execute(text(statement))


@pytest.mark.parametrize(
    "row",
    [
        {"status": "maybe"},
        {"status": "given", "purpose": "*"},
        {"effective_at": 2},
        {"address_id": None},
        {"status": "given", "spreads": True},
    ],
)
def test_the_database_itself_refuses_decisions_that_break_a_rule(owner_engine: Engine, row: dict[str, object]) -> None:
    values = {
        "status": "refused",
        "purpose": "survey",
        "effective_at": 1,
        "address_id": 1,
        "spreads": False,
        **row,
    }
    insert = text("""INSERT INTO decisions (decision_id, tenant, address_id, channel, purpose, status, effective_at,
                     recorded_at, spreads, evidence) VALUES (gen_random_uuid(), 'acme', :address_id, 'sms', :purpose,
                     :status, :effective_at, 1, :spreads, '{}')""")
    with owner_engine.connect() as connection:
        connection.execute(text("INSERT INTO addresses VALUES (1, 'acme', 'sms', 0)"))
        with pytest.raises(IntegrityError, match="check constraint"):
            connection.execute(insert, values)


def test_readiness_names_a_database_that_is_older_than_the_code(ledger: Ledger, owner_engine: Engine) -> None:
    monitor = DatabaseMonitor(ledger, Health(), offset=Gauge("offset", "-", registry=None))
    assert monitor.check() is True
    try:
        with owner_engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        assert "consent-relay migrate" in str(monitor.check())
    finally:
        with owner_engine.begin() as connection:
            connection.execute(text(f"UPDATE alembic_version SET version_num = '{REQUIRED_SCHEMA_VERSION}'"))


@pytest.mark.parametrize(("seconds", "side"), [(1.5, "later than"), (-1.5, "earlier than")])
def test_readiness_names_a_clock_that_differs_from_the_database_s(ledger: Ledger, seconds: float, side: str) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("offset", "-", registry=registry)
    apart = Ledger(
        engine=ledger.engine, context=ledger.context, clock=lambda: ledger.clock() + int(seconds * 1_000_000)
    )
    assert side in str(DatabaseMonitor(apart, Health(), offset=gauge).check())
    assert abs((registry.get_sample_value("offset") or 0) - seconds) < 0.5

    health = Health()
    watch = ClockMonitor(engine=apart.engine, clock=apart.clock, offset=gauge, health=health)
    watch.check()
    assert not health.readiness()[0]
    ClockMonitor(engine=ledger.engine, offset=gauge, health=health).check()
    assert health.readiness()[0]


def test_old_answers_are_forgotten_and_young_ones_kept(ledger: Ledger, owner_engine: Engine) -> None:
    with owner_engine.begin() as connection:
        insert = text("INSERT INTO idempotency_keys VALUES ('acme', :key, 'x', 200, '', :at)")
        connection.execute(insert, [{"key": "old", "at": 0}, {"key": "young", "at": ledger.clock()}])
    assert DatabaseMonitor(ledger, Health(), offset=Gauge("offset", "-", registry=None)).check() is True
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT key_hash FROM idempotency_keys")).scalars().all() == ["young"]
