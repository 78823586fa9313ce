"""Migrations of a table with 5,000,000 decisions beside live inserts: how long the slowest insert waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import URL, Engine, create_engine, make_url, text

from consent_api.ledger.database import connect
from consent_api.ledger.migrate import migrate
from consent_service.retry import Backoff
from tests.bench.figures import Figure, Servers
from tests.support import example_migrations

DECISIONS = 5_000_000
RATE = 100.0
UNDISTURBED_SECONDS = 10.0
LOCK_TIMEOUT_SECONDS = 3.0
BLOCKED_TRIES = 2
FURTHER = [Path(example_migrations.__file__).parent]
_FILL = text("""
    INSERT INTO decisions (decision_id, tenant, address_id, channel, purpose, status, effective_at, recorded_at,
                           spreads, evidence)
    SELECT ('0198c0de-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'acme', n, 'sms', 'newsletter', 'withdrawn',
           1790000000000000 + n, 1790000000000000 + n, false, '{"source_system": "web", "actor": "data-subject"}'
    FROM generate_series(1, :count) n
""")
_INSERT = text("""
    INSERT INTO decisions (decision_id, tenant, address_id, channel, purpose, status, effective_at, recorded_at,
                           spreads, evidence)
    VALUES (gen_random_uuid(), 'acme', 1, 'sms', 'survey', 'withdrawn', 1, 1, false, '{}')
""")


class Inserts:
    """One each 1/RATE s, in a transaction of its own, and how long the slowest of them took since the last look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._longest = 0.0
        self._count = 0
        self._began: float | None = None
        self._failure: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inserts")

    def take_longest(self) -> float:
        """In milliseconds, the one that still waits included."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            waiting = time.perf_counter() - self._began if self._began is not None else 0.0
            longest, count, self._longest, self._count = max(self._longest, waiting), self._count, 0.0, 0
        if not count and not waiting:
            raise RuntimeError("no insert was measured")
        return longest * 1_000

    def _run(self) -> None:
        try:
            while not self._ended.wait(1 / RATE):
                with self._lock:
                    self._began = time.perf_counter()
                with self._engine.begin() as connection:
                    connection.execute(_INSERT)
                with self._lock:
                    self._longest = max(self._longest, time.perf_counter() - self._began)
                    self._count += 1
                    self._began = None
        except Exception as error:
            self._failure = error

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()


def measure(servers: Servers, decisions: int = DECISIONS) -> list[Figure]:
    name, role = f"bench_{uuid4().hex[:12]}", f"bench_{uuid4().hex[:12]}"
    server = create_engine(servers.database, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        owner_url = make_url(servers.database).set(database=name)
        service_url = owner_url.set(username=role, password=uuid4().hex)
        migrate(owner_url, service_url)
        owner = create_engine(owner_url, isolation_level="AUTOCOMMIT")
        service = connect(service_url, pool_size=2, application="consent-relay api")
        try:
            with owner.connect() as filling:
                filling.execute(_FILL, {"count": decisions})
                filling.execute(text("VACUUM ANALYZE decisions"))
            inserts = Inserts(service)
            with inserts.running():
                time.sleep(UNDISTURBED_SECONDS)
                undisturbed = inserts.take_longest()
                blocked, migrating, seconds = _migrate_beside_a_report(owner_url, service_url, service, inserts)
                with owner.connect() as careless:
                    careless.execute(text("CREATE INDEX careless ON decisions (channel, recorded_at)"))
                plain = inserts.take_longest()
        finally:
            owner.dispose()
            service.dispose()
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            connection.execute(text(f"DROP ROLE {role}"))
    server.dispose()
    how = (
        f"{decisions:,} decisions, {RATE:.0f} inserts a second; the migrations add a column and a rule, make an index"
        " concurrently, and validate the rule"
    )
    report = f"a report has read the table and holds its transaction open; lock time-out {LOCK_TIMEOUT_SECONDS:.0f} s"
    return [
        Figure(
            name="slowest live insert beside the migrations",
            value=migrating,
            unit="ms",
            target=1_000.0,
            at_most=True,
            how=how,
        ),
        Figure(
            name="slowest live insert while a report blocks the migrations",
            value=blocked,
            unit="ms",
            target=LOCK_TIMEOUT_SECONDS * 1_000 + 500,
            at_most=True,
            how=report,
        ),
        Figure(name="slowest live insert without migrations", value=undisturbed, unit="ms", how=how),
        Figure(name="slowest live insert beside a plain CREATE INDEX", value=plain, unit="ms", how=how),
        Figure(name="the three migrations", value=seconds, unit="s", how=how),
    ]


def _migrate_beside_a_report(owner: URL, service: URL, engine: Engine, inserts: Inserts) -> tuple[float, float, float]:
    """Longest waits in ms while the report blocks the first tries, and afterwards; the seconds of the latter."""
    released: list[tuple[float, float]] = []
    with engine.connect() as report:
        report.execute(text("SELECT count(*) FROM decisions WHERE recorded_at = 0"))
        tries = 0

        def note(_line: str) -> None:
            nonlocal tries
            tries += 1
            # The insert that waited with us ends now, and counts for this try.
            time.sleep(0.5)
            if tries == BLOCKED_TRIES:
                released.append((inserts.take_longest(), time.perf_counter()))
                report.rollback()

        migrate(
            owner,
            service,
            lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
            report=note,
            backoff=Backoff((1.0,)),
            further=FURTHER,
        )
    if len(released) != 1:
        raise RuntimeError("the report did not block the migrations")
    (blocked, began), ended = released[0], time.perf_counter()
    return blocked, inserts.take_longest(), ended - began
