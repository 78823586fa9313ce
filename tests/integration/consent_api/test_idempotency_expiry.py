"""Answers of idempotent requests are deleted at least as fast as they are made, in bounded portions (R15)."""

from __future__ import annotations

import pytest
from prometheus_client import Gauge
from sqlalchemy import Engine, text

from consent_api import monitors
from consent_api.ledger.idempotency import KEPT_MICROS
from consent_api.ledger.ledger import Ledger
from consent_api.monitors import DatabaseMonitor
from consent_service.clock import now_micros
from consent_service.health import Health

EXPIRED = KEPT_MICROS + 60_000_000


class Clock:
    """Is stopped, or advances by `step` seconds each time it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def monitor(ledger: Ledger, clock: Clock) -> DatabaseMonitor:
    return DatabaseMonitor(ledger, Health(), offset=Gauge("offset", "-", registry=None), clock=clock)


def answers(engine: Engine, count: int, *, age: int, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO idempotency_keys (tenant, key_hash, request_hash, status, body, created_at)"
                " SELECT 'acme', :name || n, 'r', 200, '{}', :made FROM generate_series(1, :count) n"
            ),
            {"name": name, "made": now_micros() - age, "count": count},
        )


def left(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM idempotency_keys")).scalar_one())


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors, "EXPIRY_BATCH", 100)


def test_the_table_does_not_grow_however_fast_it_is_filled(ledger: Ledger, owner_engine: Engine) -> None:
    watching = monitor(ledger, Clock())
    answers(owner_engine, 7, age=0, name="new")
    for turn in range(5):
        answers(owner_engine, 1_000, age=EXPIRED, name=f"old{turn}-")
        assert watching.check() is True
        assert left(owner_engine) == 7


def test_one_check_works_for_a_bounded_time_and_the_next_goes_on(ledger: Ledger, owner_engine: Engine) -> None:
    answers(owner_engine, 250, age=EXPIRED, name="old")
    watching = monitor(ledger, Clock(step=2.0))
    for remaining in (150, 50, 0):
        assert watching.check() is True
        assert left(owner_engine) == remaining


def test_two_processes_do_not_wait_for_one_another(ledger: Ledger, owner_engine: Engine) -> None:
    answers(owner_engine, 150, age=EXPIRED, name="old")
    with owner_engine.begin() as other:
        locked = "SELECT FROM idempotency_keys ORDER BY created_at LIMIT 100 FOR UPDATE"
        other.execute(text(locked))
        assert monitor(ledger, Clock()).check() is True
        assert left(owner_engine) == 100
    assert monitor(ledger, Clock()).check() is True
    assert left(owner_engine) == 0
