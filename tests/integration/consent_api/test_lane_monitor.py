"""The API sees what no process carries on, with no relay and no ingest alive. # R63"""

from __future__ import annotations

import logging
import math

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, make_url, text

from consent_api.http.lane_monitor import LaneMonitor
from consent_api.http.metrics import LaneMetrics
from consent_api.ledger.database import connect
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from local_stack.servers import ServerEndpoints

INBOUND = {Lane.LIVE: "inbound", Lane.BULK: "inbound-bulk"}


class Rig:
    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.monitor = LaneMonitor(engine=engine, inbound=INBOUND, metrics=LaneMetrics.on(self.registry))

    def figures(self, lane: Lane) -> dict[str, float]:
        self.monitor.check(lane)
        names = ("outbox_pending", "outbox_oldest_age_seconds", "resolved_age_seconds", "inbound_resolved_age_seconds")
        found = {name: self.registry.get_sample_value(f"consent_relay_api_{name}", {"lane": lane}) for name in names}
        return {name: value for name, value in found.items() if value is not None}


@pytest.fixture
def rig(ledger: Ledger) -> Rig:
    return Rig(ledger.engine)


def test_what_waits_is_counted_and_aged_by_lane(
    rig: Rig, owner_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    row = (
        "INSERT INTO outbox (topic, partition, key, value, headers, created_at) VALUES ('t', 0, 'k', 'v', '[]',"
        " (extract(epoch FROM clock_timestamp()) * 1e6)::bigint - 90000000)"
    )
    resolved = (
        "INSERT INTO relay_partitions (lane, partition, topic_id, resolved_at) VALUES ('live', :partition, 'x',"
        " (extract(epoch FROM clock_timestamp()) * 1e6)::bigint - :age)"
    )
    recorded = (
        "INSERT INTO ingest_positions (topic, partition, next_offset, resolved_at, updated_at) VALUES (:topic, 0, 0,"
        " CASE WHEN :age = 0 THEN 0 ELSE (extract(epoch FROM clock_timestamp()) * 1e6)::bigint - :age END, 0)"
    )
    with owner_engine.begin() as connection:
        connection.execute(text("TRUNCATE outbox, outbox_bulk, relay_partitions, ingest_positions"))
        connection.execute(text(row))
        for partition, age in ((0, 1_000_000), (1, 120_000_000)):
            connection.execute(text(resolved), {"partition": partition, "age": age})
        connection.execute(text(recorded), {"topic": "inbound", "age": 30_000_000})
        connection.execute(text(recorded), {"topic": "inbound-bulk", "age": 0})
    try:
        live, bulk = rig.figures(Lane.LIVE), rig.figures(Lane.BULK)
        assert live["outbox_pending"] == 1
        assert 90 <= live["outbox_oldest_age_seconds"] < 120
        assert 120 <= live["resolved_age_seconds"] < 150
        assert 30 <= live["inbound_resolved_age_seconds"] < 60
        assert (bulk["outbox_pending"], bulk["outbox_oldest_age_seconds"]) == (0, 0)
        assert math.isnan(bulk["resolved_age_seconds"])
        assert bulk["inbound_resolved_age_seconds"] == math.inf
        rig.figures(Lane.LIVE)
        errors = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert [each.message for each in errors] == ["what is recorded is not carried on: is a relay running?"]
    finally:
        with owner_engine.begin() as connection:
            connection.execute(text("TRUNCATE outbox, outbox_bulk, relay_partitions, ingest_positions"))


def test_without_a_database_nothing_is_known() -> None:
    engine = connect("postgresql+psycopg://unknown@127.0.0.1:1/none", pool_size=1, application="test")  # type: ignore[arg-type]
    figures = Rig(engine).figures(Lane.LIVE)
    assert len(figures) == 4
    assert all(map(math.isnan, figures.values()))


def test_a_database_that_is_not_migrated_yet_does_not_end_it(servers: ServerEndpoints) -> None:
    """The API may be started before consent-relay migrate has run."""
    engine = connect(make_url(servers.database).set(database="postgres"), pool_size=1, application="test")
    figures = Rig(engine).figures(Lane.LIVE)
    engine.dispose()
    assert len(figures) == 4
    assert all(map(math.isnan, figures.values()))
