"""`migrate` while others use the database: who waits, for how long, and what it says. # R44"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import IntegrityError

from consent_api.errors import MigrationBlockedError
from consent_api.ledger.database import connect
from consent_api.ledger.migrate import ATTEMPTS, migrate
from consent_service.retry import Backoff
from tests.support import example_migrations

EXAMPLES = [Path(example_migrations.__file__).parent]
AT_ONCE = Backoff((0.01,))
INSERT = text(
    "INSERT INTO decisions (decision_id, tenant, address_id, channel, purpose, status, effective_at, recorded_at,"
    " spreads, evidence) VALUES (gen_random_uuid(), 'acme', 1, 'sms', 'survey', 'refused', 1, 1, false, '{}')"
)
STATE = text(
    "SELECT (SELECT indisvalid FROM pg_index WHERE indexrelid = 'decisions_by_example'::regclass) AS index_valid,"
    " (SELECT convalidated FROM pg_constraint WHERE conname = 'decisions_example') AS rule_validated"
)


@pytest.fixture
def owner(database: str) -> URL:
    return make_url(database)


@pytest.fixture
def service(owner: URL) -> Iterator[URL]:
    url = owner.set(username=f"svc_{uuid4().hex[:12]}", password=uuid4().hex)
    migrate(owner, url)
    yield url
    with as_owner(owner) as connection:
        connection.execute(text(f"DROP OWNED BY {url.username}"))
        connection.execute(text(f"DROP ROLE {url.username}"))
    connection.engine.dispose()


@pytest.fixture
def services(service: URL) -> Iterator[Engine]:
    engine = connect(service, pool_size=2, application="consent-relay api")
    yield engine
    engine.dispose()


def as_owner(owner: URL) -> Connection:
    return create_engine(owner, isolation_level="AUTOCOMMIT").connect()


def test_decisions_are_recorded_between_the_tries_for_a_lock_and_the_report_names_who_has_it(
    owner: URL, service: URL, services: Engine
) -> None:
    lines: list[str] = []
    report_job = connect(service, pool_size=1, application="nightly report")
    with report_job.connect() as reader, services.connect() as writer:
        reader.execute(text("SELECT count(*) FROM decisions"))

        def record_meanwhile(line: str) -> None:
            lines.append(line)
            with writer.begin():
                writer.execute(text("SET LOCAL lock_timeout = '5s'"))
                writer.execute(INSERT)
            if len(lines) == 3:
                reader.rollback()

        migrate(
            owner, service, lock_timeout_seconds=0.7, report=record_meanwhile, backoff=Backoff((0.1,)), further=EXAMPLES
        )
        pid = reader.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        assert len(lines) == 3
        who = f"session {pid} of role {service.username}, application 'nightly report', idle in transaction"
        assert all(who in line for line in lines), lines
    with as_owner(owner) as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions WHERE example IS NULL")).scalar_one() == 3
        assert connection.execute(STATE).one() == (True, True)
    connection.engine.dispose()
    report_job.dispose()


def test_a_lock_that_stays_ends_the_command_which_goes_on_when_it_is_run_again(
    owner: URL, service: URL, services: Engine
) -> None:
    lines: list[str] = []
    with services.connect() as holder:
        holder.execute(text("SELECT 1 FROM decisions"))
        with pytest.raises(MigrationBlockedError, match=r"application 'consent-relay api'.*pg_terminate_backend"):
            migrate(owner, service, lock_timeout_seconds=0.5, report=lines.append, backoff=AT_ONCE, further=EXAMPLES)
    assert len(lines) == ATTEMPTS - 1
    migrate(owner, service, further=EXAMPLES)
    with as_owner(owner) as connection:
        assert connection.execute(STATE).one() == (True, True)
    connection.engine.dispose()


def test_an_index_that_an_interrupted_migration_left_invalid_is_made_again(
    owner: URL, service: URL, services: Engine
) -> None:
    with services.begin() as connection:
        for _ in range(2):
            connection.execute(INSERT)
    with as_owner(owner) as connection:
        with pytest.raises(IntegrityError):
            connection.execute(text("CREATE UNIQUE INDEX CONCURRENTLY decisions_by_example ON decisions (tenant)"))
        migrate(owner, service, further=EXAMPLES)
        assert connection.execute(STATE).one() == (True, True)
        definition = text("SELECT pg_get_indexdef('decisions_by_example'::regclass)")
        assert connection.execute(definition).scalar_one().endswith("(tenant, recorded_at)")
    connection.engine.dispose()


def test_two_that_run_at_once_do_not_wait_for_each_other_in_a_circle(owner: URL, service: URL) -> None:
    """An index made concurrently waits for every open transaction: one of the waiting migrate would be one."""
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(migrate, owner, service, further=EXAMPLES) for _ in range(3)]
        for each in running:
            each.result(120)
    with as_owner(owner) as connection:
        assert connection.execute(STATE).one() == (True, True)
    connection.engine.dispose()
