"""consent.inbound.v1 into the ledger, on real servers. # R16 # R43"""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest
from confluent_kafka import Producer

from consent_runtime.dead_letters import original
from consent_runtime.keyring import Keyring
from tests.integration.flow.house import TENANT, House, Running, grant, refusal, until
from tests.integration.proxy import Proxy


def outcome(house: House, ingest: Running, name: str) -> float:
    return ingest.metric("consent_relay_ingest_records_total", topic=house.topics.inbound, outcome=name)


def decisions(house: House) -> int:
    return int(house.ask("SELECT count(*) FROM decisions"))


def letters(house: House) -> list[tuple[bytes, dict[str, object]]]:
    topic = house.topics.dead_letters("consent-api")
    codec = house.codec()
    return [(each.key(), codec.decode(topic, each.value())) for each in house.records(topic)]


def test_a_batch_is_recorded_with_its_messages_and_only_then_committed(house: House) -> None:
    house.submit(house.encoded([grant(), *(refusal() for _ in range(99))]))
    with house.ingest() as ingest:
        until(lambda: outcome(house, ingest, "recorded") == 100)
        until(lambda: ingest.health.check() == (True, []))
        assert decisions(house) == 100
        assert house.pending() >= 100
        until(lambda: house.committed() == 100)
    assert letters(house) == []


def test_a_repeated_event_is_recorded_once(house: House) -> None:
    events = [refusal() for _ in range(20)]
    house.submit(house.encoded([*events, *events]))
    with house.ingest() as ingest:
        until(lambda: outcome(house, ingest, "recorded") + outcome(house, ingest, "repeated") == 40)
        house.submit(house.encoded(events))
        until(lambda: outcome(house, ingest, "repeated") == 40)
    assert decisions(house) == 20


def test_submissions_that_were_deleted_before_they_were_read_are_told(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    def skipped(ingest: Running) -> float:
        return ingest.metric("consent_relay_ingest_skipped_records_total", topic=house.topics.inbound)

    house.submit(house.encoded([refusal() for _ in range(40)]))
    with house.ingest() as ingest:
        until(lambda: outcome(house, ingest, "recorded") == 40)
        until(lambda: house.committed() == 40)
        assert skipped(ingest) == 0
    house.submit(house.encoded([refusal() for _ in range(40)]))
    house.delete_records(house.topics.inbound)
    house.submit(house.encoded([refusal()]))
    with house.ingest() as ingest:
        until(lambda: skipped(ingest) == 40)
        until(lambda: outcome(house, ingest, "recorded") == 1)
    told = [each for each in caplog.records if each.getMessage() == "records were deleted before they were read"]
    assert {each.levelname for each in told} == {"ERROR"}
    assert sum(vars(each)["records"] for each in told) == 40


def test_poison_goes_aside_with_its_reason_and_the_rest_is_recorded(house: House, keyring: Keyring) -> None:
    codec = house.codec()
    [good] = house.encoded([grant()])
    assert good is not None
    another_type = codec.encode(
        house.topics.receipts,
        {
            **dict.fromkeys(("receipt_id", "tenant", "destination", "channel", "address_key", "action"), "x"),
            **dict.fromkeys(("version", "accepted_at", "queued_at", "occurred_at", "attempts"), 1),
            "stage": "queued",
            "decision_ids": [],
            "provider_reference": None,
            "detail": None,
        },
    )
    poison: list[tuple[str, bytes | None]] = [
        ("empty", None),
        ("empty", b""),
        ("not_framed", b'{"channel": "sms"}'),
        ("truncated", b"\x00\x00\x00"),
        ("truncated", good[:-20]),
        ("unknown_schema", b"\x00\x7f\xff\xff\xff" + good[5:]),
        ("wrong_schema", another_type),
        ("undecodable", good + b"\x00"),
        *(
            ("invalid", each)
            for each in house.encoded(
                [
                    grant(channel="pigeon"),
                    grant(status="perhaps"),
                    grant(evidence=None),
                    grant(address="not a number"),
                    grant(occurred_at=time.time_ns() // 1_000 + 3_600_000_000),
                    grant(tenant="nobody"),
                    grant(event_id=""),
                    grant(subject_ref="nul\x00"),
                    grant(subject_ref="06 39 98 00 12"),
                    grant(event_id="0639980012"),
                    grant(occurred_at=2**63 - 1),
                    refusal(subject_ref=None, address=None),
                ]
            )
        ),
        ("not_framed", b"x" * 999_000),  # the largest record that a producer of default settings sends
    ]
    mixed: list[bytes | None] = []
    for _, value in poison:
        mixed += [*house.encoded([refusal()]), value]
    house.submit(mixed)
    with house.ingest() as ingest:
        until(lambda: outcome(house, ingest, "recorded") == len(poison))
        until(lambda: outcome(house, ingest, "dead_letter") == len(poison))
        until(lambda: house.committed() == 2 * len(poison))
        counted = ingest.metric(
            "consent_relay_dead_letters_total", service="consent-api", topic=house.topics.inbound, reason="empty"
        )
        assert counted == 2
    found = letters(house)
    assert Counter(datum["reason"] for _, datum in found) == Counter(reason for reason, _ in poison)
    assert Counter(original(datum, keyring).value for _, datum in found) == Counter(value for _, value in poison)
    for key, datum in found:
        assert key.decode() == f"{datum['topic']}:{datum['partition']}:{datum['offset']}"
        assert "not a number" not in str(datum["error"])
        assert datum["reason"] != "invalid" or str(datum["error"]).startswith("/")


def test_a_record_too_large_for_a_dead_letter_is_cut_instead_of_stopping_the_line(
    house: House, keyring: Keyring
) -> None:
    # Compressed on its way in, it passed a limit that it cannot pass once it is sealed.
    producer = Producer({"bootstrap.servers": house.kafka, "message.max.bytes": 10_000_000, "compression.type": "lz4"})
    producer.produce(house.topics.inbound, b"z" * 6_000_000, b"huge")
    assert producer.flush(10) == 0
    with house.ingest() as ingest:
        until(lambda: outcome(house, ingest, "dead_letter") == 1)
        until(lambda: house.committed() == 1)
    [(_, datum)] = letters(house)
    assert datum["reason"] == "too_large"
    assert "not_framed" in str(datum["error"])
    value = original(datum, keyring).value
    assert value is not None
    assert set(value) == {ord("z")}


def test_the_batch_waits_for_the_database_and_keeps_its_place_in_the_group(house: House) -> None:
    address = f"{house.database.host}:{house.database.port}"
    with Proxy(address) as cable:
        away = house.elsewhere(database=house.database.set(host="127.0.0.1", port=cable.port))
        with away.ingest() as ingest:
            house.submit(house.encoded([refusal()]))
            until(lambda: outcome(house, ingest, "recorded") == 1)
            cable.cut()
            house.submit([*house.encoded([refusal() for _ in range(50)]), b"poison"])
            until(lambda: ingest.metric("consent_relay_ingest_paused", topic=house.topics.inbound) == 1)
            reason = "inbound: paused, waiting for a dependency: LedgerUnavailableError"
            assert ingest.health.check() == (False, [reason])
            # Longer than the session timeout: who does not poll has lost its partitions by then.
            time.sleep(9)
            assert house.committed() == 1
            assert letters(house) == []
            cable.heal()
            until(lambda: outcome(house, ingest, "recorded") == 51)
            until(lambda: outcome(house, ingest, "dead_letter") == 1)
            until(lambda: ingest.health.check() == (True, []))
    assert decisions(house) == 51


def test_connections_that_the_database_ends_cost_nothing(house: House) -> None:
    with house.ingest(ingest_batch=50) as ingest:
        for _ in range(5):
            house.submit(house.encoded([refusal() for _ in range(100)]))
            until(lambda: house.cut_connections() >= 1)
        until(lambda: decisions(house) == 500)
        until(lambda: house.committed() == 500)
        until(lambda: ingest.health.check() == (True, []))
    assert letters(house) == []


def test_an_unknown_schema_waits_for_the_registry_instead_of_being_put_aside(house: House) -> None:
    registry = house.registry.removeprefix("http://")
    address, _, path = registry.partition("/")
    with Proxy(address) as cable, house.ingest(registry=f"http://{cable.address}/{path}") as ingest:
        until(lambda: ingest.health.check()[0])
        cable.cut()
        [value] = house.encoded([refusal()])
        assert value is not None
        house.submit([value, b"\x00\x7f\xff\xff\xfe" + value[5:]])
        until(lambda: ingest.metric("consent_relay_ingest_paused", topic=house.topics.inbound) == 1)
        assert letters(house) == []
        cable.heal()
        until(lambda: outcome(house, ingest, "dead_letter") == 1)
        until(lambda: outcome(house, ingest, "recorded") == 1)


def test_the_broker_has_to_acknowledge_a_dead_letter_before_the_offset_moves(house: House) -> None:
    with Proxy(house.kafka, kafka=True) as cable, house.ingest(kafka=cable.address) as ingest:
        house.submit([b"poison"])
        until(lambda: outcome(house, ingest, "dead_letter") == 1)
        cable.cut()
        house.submit([b"more poison"])
        house.submit(house.encoded([refusal() for _ in range(10)]))
        cable.heal()
        until(lambda: outcome(house, ingest, "dead_letter") == 2)
        until(lambda: outcome(house, ingest, "recorded") == 10)
        until(lambda: house.committed() == 12)


def test_kill_9_at_any_moment_records_everything_once(house: House) -> None:
    events = [refusal() for _ in range(6_000)]
    house.submit(house.encoded(events))
    for _ in range(3):
        before = decisions(house)
        process = house.command("ingest", ingest_batch=100)
        until(lambda: decisions(house) > before + 200, seconds=40)  # noqa: B023 - used at once
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert decisions(house) < 6_000, "killed too late to prove anything"
    with house.ingest("another"):
        until(lambda: decisions(house) == 6_000, seconds=60)
        until(lambda: house.committed() == 6_000)
    assert letters(house) == []


def test_partitions_change_hands_without_loss_and_sigterm_commits(house: House) -> None:
    with house.ingest("one", ingest_batch=20):
        house.submit(house.encoded([refusal() for _ in range(1_000)]))
        process = house.command("ingest", instance_id="two", ingest_batch=20)
        for _ in range(5):
            house.submit(house.encoded([refusal() for _ in range(200)]))
        until(lambda: house.members() == 2)
        until(lambda: decisions(house) == 2_000)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        house.submit(house.encoded([refusal() for _ in range(100)]))
        until(lambda: decisions(house) == 2_100)
    assert house.committed() == 2_100


def test_a_second_process_under_the_same_identity_makes_the_first_one_end_loudly(house: House) -> None:
    first = house.command("ingest", instance_id="twin")
    house.submit(house.encoded([refusal()]))
    until(lambda: decisions(house) == 1)
    with house.ingest("twin"):
        _, err = first.communicate(timeout=40)
    assert first.returncode == 1
    assert '"level": "CRITICAL"' in err
    assert "fenced by other consumer" in err


@pytest.mark.parametrize("tenant", [None, TENANT])
def test_a_record_without_a_tenant_belongs_to_the_only_one(house: House, tenant: str | None) -> None:
    house.submit(house.encoded([refusal(tenant=tenant)]))
    with house.ingest():
        until(lambda: decisions(house) == 1)
    assert house.ask("SELECT tenant FROM decisions") == TENANT
