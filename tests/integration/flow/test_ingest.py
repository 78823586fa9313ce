"""consent.inbound.v1 into the ledger, on real servers. # R16 # R43"""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest
from confluent_kafka import Producer
from sqlalchemy import text

from consent_kafka.dead_letters import original
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.flow.rig import TENANT, Rig, Running, grant, refusal
from tests.integration.proxy import Proxy
from tests.support.waiting import until


def outcome(rig: Rig, ingest: Running, name: str) -> float:
    return ingest.metric("consent_relay_ingest_records_total", topic=rig.topics.inbound, outcome=name)


def decisions(rig: Rig) -> int:
    return int(rig.ask("SELECT count(*) FROM decisions"))


def letters(rig: Rig) -> list[tuple[bytes, dict[str, object]]]:
    topic = rig.topics.dead_letters("consent-api")
    codec = rig.codec()
    return [(each.key(), codec.decode(topic, each.value())) for each in rig.records(topic)]


def test_a_batch_is_recorded_with_its_messages_and_only_then_committed(rig: Rig) -> None:
    rig.submit(rig.encoded([grant(), *(refusal() for _ in range(99))]))
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") == 100)
        until(lambda: ingest.health.readiness() == (True, []))
        assert decisions(rig) == 100
        assert rig.pending() >= 100
        until(lambda: rig.committed() == 100)
    assert letters(rig) == []


def test_a_repeated_event_is_recorded_once(rig: Rig) -> None:
    events = [refusal() for _ in range(20)]
    rig.submit(rig.encoded([*events, *events]))
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") + outcome(rig, ingest, "repeated") == 40)
        rig.submit(rig.encoded(events))
        until(lambda: outcome(rig, ingest, "repeated") == 40)
    assert decisions(rig) == 20


def test_submissions_that_were_deleted_before_they_were_read_are_reported(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def skipped(ingest: Running) -> float:
        return ingest.metric("consent_relay_ingest_skipped_records_total", topic=rig.topics.inbound)

    rig.submit(rig.encoded([refusal() for _ in range(40)]))
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") == 40)
        until(lambda: rig.committed() == 40)
        assert skipped(ingest) == 0
    rig.submit(rig.encoded([refusal() for _ in range(40)]))
    rig.delete_records(rig.topics.inbound)
    rig.submit(rig.encoded([refusal()]))
    with rig.ingest() as ingest:
        until(lambda: skipped(ingest) == 40)
        until(lambda: outcome(rig, ingest, "recorded") == 1)
    reports = [each for each in caplog.records if each.getMessage() == "records were deleted before they were read"]
    assert {each.levelname for each in reports} == {"ERROR"}
    assert sum(vars(each)["records"] for each in reports) == 40


def test_a_first_start_that_finds_deleted_records_says_so_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """R43: stamped by their producers, or older than the retention, they are gone before anybody has read them."""
    rig.submit(rig.encoded([refusal() for _ in range(40)]))
    rig.delete_records(rig.topics.inbound)
    rig.submit(rig.encoded([refusal()]))
    with rig.ingest():
        until(lambda: rig.committed() == 41)
    with rig.ingest("two") as ingest:
        until(lambda: ingest.health.readiness() == (True, []))
    reports = [each for each in caplog.records if "deleted before its first start" in each.getMessage()]
    assert {each.levelname for each in reports} == {"ERROR"}
    assert sum(vars(each)["records"] for each in reports) == 40


def test_records_dated_by_their_event_are_kept(rig: Rig) -> None:  # R43
    """The broker dates them: with the producer's time, retention would delete what was just submitted."""
    long_ago = int((time.time() - 24 * 86_400) * 1_000)
    producer = Producer({"bootstrap.servers": rig.kafka})
    for value in rig.encoded([refusal() for _ in range(3)]):
        producer.produce(rig.topics.inbound, value, timestamp=long_ago)
    assert producer.flush(20) == 0
    assert all(each.timestamp()[1] > long_ago + 86_400_000 for each in rig.records(rig.topics.inbound))


def test_a_refusal_is_recorded_without_what_cannot_be_read(rig: Rig) -> None:  # R4 R7
    now = now_micros()
    changes: list[dict[str, object]] = [
        {"occurred_at": now // 1_000},
        {"occurred_at": now // 1_000_000},
        {"occurred_at": 0},
        {"occurred_at": now * 1_000},
        {"occurred_at": None},
        {"expires_at": 2**63 - 1},
        {"expires_at": -1},
        {"event_id": ""},
        {"subject_ref": "[object Object]"},
        {"evidence": {"actor": "x" * 2_001, "notice_id": "a\x00b"}},
    ]
    rig.submit(rig.encoded([{**refusal(), **change} for change in changes]))
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") == len(changes))
        lost = {
            name: ingest.metric("consent_relay_ingest_dropped_fields_total", topic=rig.topics.inbound, field=name)
            for name in ("occurred_at", "expires_at", "event_id", "subject_ref", "evidence")
        }
    assert lost == {"occurred_at": 4, "expires_at": 2, "event_id": 1, "subject_ref": 1, "evidence": 2}
    assert rig.ask("SELECT count(*) FROM decisions WHERE effective_at = recorded_at") == 5
    assert letters(rig) == []


def test_poison_goes_aside_with_its_reason_and_the_rest_is_recorded(rig: Rig, keyring: Keyring) -> None:
    codec = rig.codec()
    [good] = rig.encoded([grant()])
    assert good is not None
    another_type = codec.encode(
        rig.topics.receipts,
        {
            **dict.fromkeys(("receipt_id", "tenant", "destination", "channel", "address_key", "target", "action"), "x"),
            **dict.fromkeys(("version", "recorded_at", "queued_at", "reached_at", "attempts"), 1),
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
            for each in rig.encoded(
                [
                    grant(channel="pigeon"),
                    grant(status="perhaps"),
                    grant(evidence=None),
                    grant(address="not a number"),
                    grant(occurred_at=now_micros() + 3_600_000_000),
                    grant(occurred_at=None),
                    grant(tenant="newcomer"),
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
        mixed += [*rig.encoded([refusal()]), value]
    rig.submit(mixed)
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") == len(poison))
        until(lambda: outcome(rig, ingest, "dead_letter") == len(poison))
        until(lambda: rig.committed() == 2 * len(poison))
        counted = ingest.metric(
            "consent_relay_dead_letters_total", service="consent-api", topic=rig.topics.inbound, reason="empty"
        )
        assert counted == 2
    found = letters(rig)
    assert Counter(datum["reason"] for _, datum in found) == Counter(reason for reason, _ in poison)
    assert Counter(original(datum, keyring).value for _, datum in found) == Counter(value for _, value in poison)
    for key, datum in found:
        assert key.decode() == f"{datum['topic']}:{datum['partition']}:{datum['offset']}"
        assert "not a number" not in str(datum["error"])
        assert datum["reason"] != "invalid" or str(datum["error"]).startswith("/")


def test_a_record_too_large_for_a_dead_letter_is_cut_instead_of_stopping_the_line(rig: Rig, keyring: Keyring) -> None:
    # Compressed on its way in, it passed a limit that it cannot pass once it is sealed.
    producer = Producer({"bootstrap.servers": rig.kafka, "message.max.bytes": 10_000_000, "compression.type": "lz4"})
    producer.produce(rig.topics.inbound, b"z" * 6_000_000, b"huge")
    assert producer.flush(10) == 0
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "dead_letter") == 1)
        until(lambda: rig.committed() == 1)
    [(_, datum)] = letters(rig)
    assert datum["reason"] == "too_large"
    assert "not_framed" in str(datum["error"])
    value = original(datum, keyring).value
    assert value is not None
    assert set(value) == {ord("z")}


def test_the_batch_waits_for_the_database_and_keeps_its_place_in_the_group(rig: Rig) -> None:
    address = f"{rig.database.host}:{rig.database.port}"
    with Proxy(address) as cable:
        cut = rig.elsewhere(database=rig.database.set(host="127.0.0.1", port=cable.port))
        with cut.ingest() as ingest:
            rig.submit(rig.encoded([refusal()]))
            until(lambda: outcome(rig, ingest, "recorded") == 1)
            cable.cut()
            rig.submit([*rig.encoded([refusal() for _ in range(50)]), b"poison"])
            until(lambda: ingest.metric("consent_relay_ingest_paused", topic=rig.topics.inbound) == 1)
            reason = "inbound: paused, waiting for a dependency: database"
            assert ingest.health.readiness() == (False, [reason])
            # Longer than the session timeout: who does not poll has lost its partitions by then.
            time.sleep(9)
            assert rig.committed() == 1
            assert letters(rig) == []
            cable.heal()
            until(lambda: outcome(rig, ingest, "recorded") == 51)
            until(lambda: outcome(rig, ingest, "dead_letter") == 1)
            until(lambda: ingest.health.readiness() == (True, []))
    assert decisions(rig) == 51


def test_connections_that_the_database_ends_cost_nothing(rig: Rig) -> None:
    with rig.ingest(ingest_batch=50) as ingest:
        for _ in range(5):
            rig.submit(rig.encoded([refusal() for _ in range(100)]))
            until(lambda: rig.cut_connections() >= 1)
        until(lambda: decisions(rig) == 500)
        until(lambda: rig.committed() == 500)
        until(lambda: ingest.health.readiness() == (True, []))
    assert letters(rig) == []


def test_an_unknown_schema_waits_for_the_registry_and_holds_up_no_other(rig: Rig) -> None:  # R46
    registry = rig.registry.removeprefix("http://")
    address, _, path = registry.partition("/")
    with Proxy(address) as cable, rig.ingest(registry=f"http://{cable.address}/{path}") as ingest:
        until(lambda: ingest.health.readiness()[0])
        cable.cut()
        [value] = rig.encoded([refusal()])
        assert value is not None
        rig.submit([b"\x00\x7f\xff\xff\xfe" + value[5:], value])
        until(lambda: outcome(rig, ingest, "recorded") == 1)
        rig.submit(rig.encoded([refusal() for _ in range(10)]))
        until(lambda: outcome(rig, ingest, "recorded") == 11)
        until(lambda: ingest.metric("consent_relay_ingest_waiting_records", topic=rig.topics.inbound) == 1)
        assert letters(rig) == []
        assert rig.committed() < 12
        cable.heal()
        until(lambda: outcome(rig, ingest, "dead_letter") == 1)
        until(lambda: rig.committed() == 12)


def test_the_broker_has_to_acknowledge_a_dead_letter_before_the_offset_moves(rig: Rig) -> None:
    with Proxy(rig.kafka, kafka=True) as cable, rig.ingest(kafka=cable.address) as ingest:
        rig.submit([b"poison"])
        until(lambda: outcome(rig, ingest, "dead_letter") == 1)
        cable.cut()
        rig.submit([b"more poison"])
        rig.submit(rig.encoded([refusal() for _ in range(10)]))
        cable.heal()
        until(lambda: outcome(rig, ingest, "dead_letter") == 2)
        until(lambda: outcome(rig, ingest, "recorded") == 10)
        until(lambda: rig.committed() == 12)


def test_kill_9_at_any_moment_records_everything_once(rig: Rig) -> None:
    events = [refusal() for _ in range(6_000)]
    rig.submit(rig.encoded(events))
    for _ in range(3):
        before = decisions(rig)
        process = rig.command("ingest", ingest_batch=100)
        until(lambda: decisions(rig) > before + 200, seconds=40)  # noqa: B023 - used at once
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert decisions(rig) < 6_000, "killed too late to prove anything"
    with rig.ingest("another"):
        until(lambda: decisions(rig) == 6_000, seconds=60)
        until(lambda: rig.committed() == 6_000)
    assert letters(rig) == []


def test_partitions_change_hands_without_loss_and_sigterm_commits(rig: Rig) -> None:
    with rig.ingest("one", ingest_batch=20):
        rig.submit(rig.encoded([refusal() for _ in range(1_000)]))
        process = rig.command("ingest", instance_id="two", ingest_batch=20)
        for _ in range(5):
            rig.submit(rig.encoded([refusal() for _ in range(200)]))
        until(lambda: rig.members() == 2)
        until(lambda: decisions(rig) == 2_000)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        rig.submit(rig.encoded([refusal() for _ in range(100)]))
        until(lambda: decisions(rig) == 2_100)
    assert rig.committed() == 2_100


def test_a_second_process_under_the_same_identity_makes_the_first_one_end_loudly(rig: Rig) -> None:
    first = rig.command("ingest", instance_id="twin")
    rig.submit(rig.encoded([refusal()]))
    until(lambda: decisions(rig) == 1)
    with rig.ingest("twin"):
        _, err = first.communicate(timeout=40)
    assert first.returncode == 1
    assert '"level": "CRITICAL"' in err
    assert "fenced by other consumer" in err


@pytest.mark.parametrize("tenant", [None, TENANT])
def test_a_record_without_a_tenant_belongs_to_the_only_one(rig: Rig, tenant: str | None) -> None:
    rig.submit(rig.encoded([refusal(tenant=tenant)]))
    with rig.ingest():
        until(lambda: decisions(rig) == 1)
    assert rig.ask("SELECT tenant FROM decisions") == TENANT


def test_a_submission_that_the_database_cannot_hold_goes_aside_alone(rig: Rig) -> None:  # R16
    with rig.owner.begin() as connection:
        connection.execute(text("ALTER TABLE decisions ADD CONSTRAINT odd CHECK (purpose <> 'odd')"))
    rig.submit(rig.encoded([refusal(), refusal(purpose="odd"), *(refusal() for _ in range(20))]))
    with rig.ingest() as ingest:
        until(lambda: outcome(rig, ingest, "recorded") == 21)
        until(lambda: outcome(rig, ingest, "dead_letter") == 1)
        until(lambda: rig.committed() == 22)
    assert decisions(rig) == 21
    [(_, letter)] = letters(rig)
    assert letter["reason"] == "not_storable"
    assert "23514" in str(letter["error"])
