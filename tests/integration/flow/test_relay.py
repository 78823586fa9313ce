"""The relay on a real PostgreSQL and a real Kafka. # R43"""

from __future__ import annotations

import math
import re
import signal
import time
from collections import Counter

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from sqlalchemy import text

from consent_api.ledger.database import CLOCK_MICROS
from consent_api.ledger.lanes import Lane
from consent_contracts.decisions import AddressEntry
from consent_contracts.join import join
from consent_contracts.partitioner import partition_of
from consent_contracts.records import entry_from_change
from consent_contracts.verdict import verdict
from tests.integration.flow.rig import FILLED, Rig, Running, filling, grant
from tests.integration.proxy import Proxy
from tests.support.waiting import until

DATABASE_CLOCK = f"SELECT {CLOCK_MICROS}"


def published(rig: Rig, relay: Running, outcome: str = "published") -> float:
    return relay.metric("consent_relay_outbox_published_total", topic=rig.topics.changes, outcome=outcome)


def test_rows_are_published_as_they_are_and_deleted(rig: Rig) -> None:
    keys = rig.fill(500)
    with rig.relay() as relay:
        until(lambda: rig.pending() == 0)
        until(lambda: published(rig, relay) == 500)  # Counted after the rows are gone.
        until(lambda: relay.metric("consent_relay_outbox_pending", lane="live") == 0)
    records = rig.changes()
    assert {each.key() for each in records} == keys
    assert all(each.partition() == partition_of(each.key(), 4) for each in records)
    assert records[0].headers() == [("ce_specversion", b"1.0"), ("ce_id", b"0198f0f0-0000-7000-8000-000000000000")]
    assert len(records[0].value()) == 112


def test_a_late_commit_under_a_lower_id_is_not_skipped(rig: Rig) -> None:
    # R43: the id is taken before the commit, so a row may appear below those that were published long ago.
    with rig.relay(), rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as slow:
        slow.execute(FILLED[Lane.LIVE], filling(rig.topics.changes, 1, 1))
        rig.fill(2_500, first=2)
        until(lambda: rig.pending() == 0)
        slow.commit()
        until(lambda: rig.pending() == 0 and len(rig.changes()) == 2_501)


def test_kill_9_in_the_middle_of_batches_loses_nothing(rig: Rig) -> None:
    keys = rig.fill(20_000)
    for _ in range(3):
        before = rig.pending()
        relay = rig.command("relay", relay_batch=500)
        until(lambda: rig.pending() < before - 1_000, what="the relay gets going", seconds=90)  # noqa: B023 - used at once
        relay.send_signal(signal.SIGKILL)
        relay.communicate()
    assert rig.pending() > 0, "killed too late to prove anything"
    with rig.relay():
        until(lambda: rig.pending() == 0)
    assert {each.key() for each in rig.changes()} == keys


def test_relays_share_the_outbox_and_publish_each_row_once(rig: Rig) -> None:
    with rig.relay(relay_batch=200) as one, rig.relay(relay_batch=200) as other:
        keys = rig.fill(10_000)
        until(lambda: rig.pending() == 0)
        shares = [published(rig, each) for each in (one, other)]
    found = Counter(each.key() for each in rig.changes())
    assert set(found) == keys
    assert set(found.values()) == {1}
    assert sum(shares) == 10_000
    assert min(shares) > 0


def test_rows_wait_while_the_broker_is_unavailable_and_their_age_shows(rig: Rig) -> None:
    with Proxy(rig.kafka, kafka=True) as cable, rig.relay(kafka=cable.address) as relay:
        rig.fill(10)
        until(lambda: rig.pending() == 0)
        cable.cut()
        rig.fill(3_000, first=11)
        until(lambda: relay.metric("consent_relay_outbox_retries_total", lane="live", cause="broker") >= 1)
        until(lambda: relay.metric("consent_relay_outbox_oldest_age_seconds", lane="live") > 5)
        assert relay.metric("consent_relay_outbox_pending", lane="live") == 3_000
        ready, reasons = relay.health.readiness()
        assert not ready
        assert "live-relay: the broker does not answer" in reasons
        cable.heal()
        until(lambda: rig.pending() == 0)
        until(lambda: relay.health.readiness()[0])
    assert len({each.key() for each in rig.changes()}) == 3_010


def test_rows_that_it_does_not_get_at_are_a_reason_until_it_does(rig: Rig) -> None:  # R41
    rig.fill(3)
    with rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as elsewhere:
        elsewhere.execute(text("SELECT outbox_id FROM outbox FOR UPDATE"))
        with rig.relay(stalled_after=2.0) as relay:
            stuck = re.compile("live-outbox: 3 rows wait, and none was published for [2-9] s")
            until(lambda: any(map(stuck.fullmatch, relay.health.readiness()[1])), what="rows that grow old show")
            until(lambda: not any(reason.startswith("bulk-") for reason in relay.health.readiness()[1]))
            elsewhere.rollback()
            until(lambda: relay.health.readiness() == (True, []), what="it is ready again by itself")
            assert rig.pending() == 0


def test_a_relay_starts_without_its_broker_and_without_its_database(rig: Rig) -> None:
    address = f"{rig.database.host}:{rig.database.port}"
    with Proxy(rig.kafka, kafka=True) as broker, Proxy(address) as database:
        broker.cut()
        database.cut()
        rig.fill(10)
        url = rig.database.set(host="127.0.0.1", port=database.port)
        with rig.elsewhere(database=url).relay(kafka=broker.address) as relay:
            until(lambda: "live-relay: no answer from Kafka" in str(relay.health.readiness()))
            until(lambda: math.isnan(relay.metric("consent_relay_outbox_pending", lane="live")))
            broker.heal()
            until(lambda: relay.metric("consent_relay_outbox_retries_total", lane="live", cause="database") >= 1)
            database.heal()
            until(lambda: rig.pending() == 0)


def test_the_relay_outlives_its_database_connections(rig: Rig) -> None:
    with rig.relay(relay_batch=100):
        expected = set()
        for turn in range(5):
            expected |= rig.fill(1_000, first=1 + turn * 1_000)
            time.sleep(0.05)  # somewhere in the middle of a batch, wherever that is
            until(lambda: rig.cut_connections() >= 1)
        until(lambda: rig.pending() == 0)
    assert {each.key() for each in rig.changes()} == expected


TOO_LARGE = ["decode(repeat('00', 3000000), 'hex')", "incompressible(1500000)"]
"""The first is refused by the client, the second (small enough for the client) by the broker."""


def insert_refused(rig: Rig, key: str, value: str) -> None:
    """A row that no broker takes, as none should exist."""
    with rig.owner.begin() as connection:
        connection.exec_driver_sql(
            "CREATE OR REPLACE FUNCTION incompressible(size int) RETURNS bytea LANGUAGE sql AS"
            " $$ SELECT string_agg(uuid_send(gen_random_uuid()), '') FROM generate_series(1, size / 16) $$"
        )
        connection.exec_driver_sql(
            "INSERT INTO outbox (topic, partition, key, value, headers, created_at)"
            f" VALUES ('{rig.topics.changes}', {partition_of(key.encode(), 4)}, '{key}', {value}, '[]', 1)"
        )


@pytest.mark.parametrize("value", TOO_LARGE)
def test_a_row_that_the_broker_refuses_is_replaced_by_one_that_denies_its_address(
    rig: Rig, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.submit(rig.encoded([grant()]))
    with rig.ingest():
        until(lambda: rig.pending() == 1)
    key = rig.ask("SELECT address_key FROM address_keys")
    insert_refused(rig, key, value)
    began = rig.ask(DATABASE_CLOCK)
    # A relay on a host that is an hour behind: the permission is not the newer one for that.
    right_clock = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: right_clock() - 3_600_000_000_000)
    with rig.relay() as relay:
        rig.fill(100)
        until(lambda: rig.pending() == 0)
        until(lambda: rig.resolved() != [], what="its partition is not held back")
        assert relay.metric("consent_relay_outbox_denials_total", lane="live", outcome="denied") == 1
    codec, topic = rig.codec(), rig.topics.changes
    entry: AddressEntry | None = None
    for record in rig.changes():
        if record.key() == key.encode():
            entry = join(entry, entry_from_change(codec.decode(topic, record.value())))
    assert entry is not None
    denied = verdict(entry.decisions, "newsletter")
    assert not denied.permitted
    assert denied.since is not None
    assert began < denied.since <= rig.ask(DATABASE_CLOCK)


def test_of_a_batch_that_the_broker_refuses_for_its_size_only_the_record_that_is_too_large_is_replaced(
    rig: Rig,
) -> None:
    admin = AdminClient({"bootstrap.servers": rig.kafka})
    limit = ConfigEntry("max.message.bytes", "20000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, rig.topics.changes, incremental_configs=[limit])
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result()
    insert_refused(rig, "huge", "incompressible(30000)")
    keys = [f"k{number}" for number in range(200)]
    for key in keys:
        insert_refused(rig, key, "incompressible(1000)")
    with rig.relay() as relay:
        until(lambda: rig.pending() == 0)
        assert relay.metric("consent_relay_outbox_denials_total", lane="live", outcome="dropped") == 1
        until(lambda: published(rig, relay) == len(keys))
    assert sorted(each.key().decode() for each in rig.changes()) == sorted(keys)


def test_a_refused_row_that_concerns_no_address_is_dropped(rig: Rig) -> None:
    insert_refused(rig, "huge", TOO_LARGE[0])
    with rig.relay() as relay:
        keys = rig.fill(100)
        until(lambda: rig.pending() == 0)
        until(lambda: published(rig, relay, outcome="refused") == 1)
        assert relay.metric("consent_relay_outbox_denials_total", lane="live", outcome="dropped") == 1
    assert {each.key() for each in rig.changes()} == keys


def test_live_is_published_while_bulk_drains(rig: Rig) -> None:
    rig.fill(50_000, lane=Lane.BULK)
    with rig.relay():
        until(lambda: rig.pending(Lane.BULK) < 50_000)
        live = 0
        while rig.pending(Lane.BULK) > 0:
            live += 1
            rig.fill(1, first=live)
            until(lambda: rig.pending() == 0, seconds=5)
    assert live >= 3, "drained too fast to prove anything"


def test_a_large_backlog_is_estimated_and_drained(rig: Rig) -> None:
    rig.fill(60_000)
    rig.ask("SELECT pg_stat_force_next_flush() IS NULL")
    with rig.relay() as relay:
        until(lambda: relay.metric("consent_relay_outbox_pending", lane="live") > 10_000)
        until(lambda: rig.pending() == 0, seconds=60)


def test_sigterm_ends_the_relay_in_order(rig: Rig) -> None:
    rig.fill(5_000)
    relay = rig.command("relay")
    until(lambda: rig.pending() == 0)
    relay.send_signal(signal.SIGTERM)
    _, err = relay.communicate(timeout=20)
    assert relay.returncode == 0, err
