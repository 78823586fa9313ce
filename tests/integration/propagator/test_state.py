"""The tables, the committer and the terms of the active sender, on real Kafka."""

import asyncio
import secrets
import shutil
from typing import Any
from uuid import uuid4

import pytest

from consent_contracts import Codec
from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.errors import RegistryUnavailableError
from consent_contracts.records import entry_to_avro
from consent_kafka import clients
from consent_service.clock import now_micros
from consent_state import Position, RebuildReason, StateStore, StateStoreCorruptedError
from consent_state import TopicPartition as At
from propagator.desired.model import DeliveredTarget, Purposes
from propagator.errors import SenderFencedError
from propagator.state import reader, session, tables
from propagator.state.layout import FORMAT_VERSION
from tests.integration.propagator.state_rig import PARTITIONS, Process, StateRig, destination
from tests.support import recreated_topics
from tests.support.waiting import until_async


async def test_a_withdrawal_leads_to_a_delivery_a_row_and_a_receipt(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    key = state_rig.decide(1)
    state_rig.flush()
    await until_async(lambda: (key, "newsletter") in process.held(), what="delivered")
    await until_async(lambda: process.pending() == 0, what="the pending row is gone")
    rows = state_rig.rows()
    [target] = rows[f"crm/{key}".encode()]["targets"]
    assert (target["target"], target["action"], target["in_doubt"]) == ("newsletter", "suppress", False)
    assert [each["stage"] for each in state_rig.receipts()] == ["accepted"]
    assert [each.live for each in process.sent] == [True]


async def delivered(rig: StateRig, process: Process, numbers: range) -> None:
    """These addresses withdraw, and the destination takes it."""
    for number in numbers:
        rig.decide(number)
    rig.flush()
    await until_async(lambda: len(process.held()) >= len(numbers), what="delivered")
    await until_async(lambda: process.pending() == 0, what="read back")


async def test_a_restart_with_its_disk_sends_nothing_twice_and_goes_on_where_it_was(state_rig: StateRig) -> None:
    first = state_rig.process()
    await first.activate()
    await delivered(state_rig, first, range(20))
    await first.close()
    key = state_rig.decide(99)
    state_rig.flush()
    second = state_rig.process()
    await second.activate()
    await until_async(lambda: second.sent, what="what was written meanwhile is delivered")
    assert [each.address_key for each in second.sent] == [key]
    assert not any(second.metric("state_rebuilds_total", reason=each.value) for each in RebuildReason)


async def test_a_restart_without_its_disk_sends_nothing_twice(state_rig: StateRig) -> None:
    first = state_rig.process()
    await first.activate()
    await delivered(state_rig, first, range(20))
    await first.close()
    shutil.rmtree(state_rig.tmp / "one")
    key = state_rig.decide(99)
    state_rig.flush()
    second = state_rig.process()
    await second.activate()
    await until_async(lambda: second.sent, what="the scan finds what is missing")
    await until_async(lambda: second.pending() == 0 and not second.propagator.reader.scanner.busy)
    assert [each.address_key for each in second.sent] == [key]
    assert second.metric("fills_total", destination="crm", reason="lost_state") == 0


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
async def test_damaged_local_state_is_rebuilt_and_counted(state_rig: StateRig, damage: str) -> None:
    first = state_rig.process()
    await first.activate()
    await delivered(state_rig, first, range(40))
    await first.close()
    for directory in (state_rig.tmp / "one" / "propagator-default").iterdir():
        for path in directory.iterdir():
            if path.suffix in (".sst", ".log") or path.name.startswith("MANIFEST"):
                data = bytearray(path.read_bytes())
                if damage == "truncated":
                    path.write_bytes(data[: len(data) // 2])
                else:
                    for at in range(0, len(data), 64):
                        data[at] ^= 0x10
                    path.write_bytes(data)
    key = state_rig.decide(99)
    state_rig.flush()
    second = state_rig.process()
    await second.activate()
    await until_async(lambda: second.sent and second.pending() == 0, what="delivered")
    await until_async(lambda: not second.propagator.reader.scanner.busy)
    assert [each.address_key for each in second.sent] == [key]
    assert sum(second.metric("state_rebuilds_total", reason=each.value) for each in RebuildReason) == PARTITIONS


async def test_tables_that_turn_out_damaged_while_they_are_used_are_restored(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    await delivered(state_rig, process, range(10))
    process.propagator.reader.corrupted(1, StateStoreCorruptedError("a block cannot be read"))
    await until_async(lambda: process.metric("state_rebuilds_total", reason="corrupted") == 1)
    key = state_rig.decide(99)
    state_rig.flush()
    await until_async(lambda: (key, "newsletter") in process.held(), what="delivered in the next term")
    await until_async(lambda: process.pending() == 0)
    assert len(process.sent) == 11


async def recreate(rig: StateRig, topic: str) -> None:
    await asyncio.to_thread(
        recreated_topics.recreate, kafka=rig.bootstrap, registry=rig.registry, topics=rig.topics, names=[topic]
    )


@pytest.mark.parametrize("disk", [True, False], ids=["with a local copy", "without one"])
async def test_a_state_topic_that_was_deleted_leads_to_a_fill(state_rig: StateRig, disk: bool) -> None:
    first = state_rig.process()
    await first.activate()
    await delivered(state_rig, first, range(20))
    await first.close()
    await recreate(state_rig, state_rig.state_topic)
    if not disk:
        shutil.rmtree(state_rig.tmp / "one")
    second = state_rig.process()
    await second.activate()
    await until_async(lambda: len(second.held()) == 20 and second.pending() == 0, what="everything is sent again")
    assert {each.live for each in second.sent} == {False}


async def test_a_state_topic_that_ends_below_the_local_position_leads_to_a_fill(state_rig: StateRig) -> None:
    first = state_rig.process()
    await first.activate()
    await delivered(state_rig, first, range(20))
    await first.close()
    directory = state_rig.tmp / "one" / "propagator-default" / "0"
    store = StateStore.open(directory, format_version=FORMAT_VERSION, partitions=PARTITIONS)
    at = At(state_rig.state_topic, 0)
    position = store.positions[at]
    store.write(store.batch(), positions={at: Position(position.topic_id, position.offset + 100)})
    store.close()
    second = state_rig.process()
    await second.activate()
    await until_async(lambda: len(second.held()) == 20 and second.pending() == 0, what="everything is sent again")
    assert second.metric("fills_total", destination="crm", reason="lost_state") == 1
    assert {each.live for each in second.sent} == {False}
    await second.close()
    third = state_rig.process()
    await third.activate()
    await until_async(lambda: not third.propagator.reader.scanner.busy)
    assert third.sent == []


async def test_a_state_topic_that_is_deleted_while_the_sender_is_active_leads_to_a_fill(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    await delivered(state_rig, process, range(20))
    del process.sent[:]
    await recreate(state_rig, state_rig.state_topic)
    await until_async(lambda: len(process.held()) == 20 and process.pending() == 0, what="everything is sent again")
    key = state_rig.decide(99)
    state_rig.flush()
    await until_async(lambda: (key, "newsletter") in process.held(), what="live changes go on")


async def test_a_list_that_is_recreated_is_compared_again(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    await delivered(state_rig, process, range(5))
    await recreate(state_rig, state_rig.list_topic)
    for number in range(6):
        state_rig.entries.pop(state_rig.key(number), None)
    await delivered(state_rig, process, range(3, 6))
    await until_async(lambda: not process.propagator.reader.restoring)
    # Those that the new list does not have are forgotten.
    await until_async(lambda: len([key for key in state_rig.rows() if not key.endswith(b"/")]) == 3)


async def test_a_new_destination_is_filled_as_bulk_and_the_others_are_left_alone(state_rig: StateRig) -> None:
    first = state_rig.process(destination("crm"))
    await first.activate()
    await delivered(state_rig, first, range(20))
    await first.close()
    second = state_rig.process(destination("crm"), destination("news"))
    await second.activate()
    await until_async(lambda: len(second.sent) == 20 and second.pending("news") == 0)
    assert second.metric("fills_total", destination="news", reason="new_destination") == 1
    assert second.metric("fills_total", destination="crm", reason="new_destination") == 0
    assert {each.live for each in second.sent} == {False}


async def test_a_raised_generation_is_a_fill(state_rig: StateRig) -> None:
    first = state_rig.process()
    await first.activate()
    await delivered(state_rig, first, range(20))
    await first.close()
    second = state_rig.process(destination(generation=1))
    await second.activate()
    await until_async(lambda: len(second.sent) == 20 and second.pending() == 0)
    assert second.metric("fills_total", destination="crm", reason="generation") == 1
    third = state_rig.process(destination(generation=1), instance="another")
    await third.activate()
    await until_async(lambda: not third.propagator.reader.scanner.busy and third.pending() == 0)
    assert third.sent == []


async def test_a_changed_mapping_is_a_scan_and_no_fill(state_rig: StateRig) -> None:
    first = state_rig.process(destination(purposes=Purposes(targets={"newsletter": ("list-1",)})))
    await first.activate()
    await delivered(state_rig, first, range(20))
    await first.close()
    second = state_rig.process(destination(purposes=Purposes(targets={"newsletter": ("list-1", "list-2")})))
    await second.activate()
    await until_async(lambda: len(second.sent) == 20 and second.pending() == 0)
    assert {each.target for each in second.sent} == {"list-2"}
    assert (
        sum(second.metric("fills_total", destination="crm", reason=each) for each in ("generation", "lost_state")) == 0
    )


async def test_a_destination_that_was_not_declared_meanwhile_is_planned_again(state_rig: StateRig) -> None:
    crm, news = destination("crm"), destination("news")
    first = state_rig.process(crm, news)
    await first.activate()
    await delivered(state_rig, first, range(5))
    await until_async(lambda: len(first.sent) == 10 and first.pending("news") == 0)
    await first.close()
    without = state_rig.process(crm)
    await without.activate()
    key = state_rig.decide(99)
    state_rig.flush()
    await until_async(lambda: (key, "newsletter") in without.held() and without.pending() == 0)
    await without.close()
    third = state_rig.process(crm, news)
    await third.activate()
    await until_async(lambda: third.sent and third.pending("news") == 0)
    assert [each.address_key for each in third.sent] == [key]


async def test_lost_records_of_the_list_lead_to_a_fill_while_the_sender_is_active(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    await delivered(state_rig, process, range(5))
    del process.sent[:]
    state_rig.resolve(loss=1)
    await until_async(lambda: process.metric("fills_total", destination="crm", reason="lost_records") == 1)
    await until_async(lambda: len(process.sent) == 5 and process.pending() == 0, what="sent again")


async def test_a_second_sender_fences_the_first_and_goes_on_with_its_rows(state_rig: StateRig) -> None:
    first = state_rig.process(instance="one")
    await first.activate()
    await delivered(state_rig, first, range(5))
    first.ownership.held = False  # The group gave the partition to another member.
    second = state_rig.process(instance="two")
    await second.activate()
    with pytest.raises(SenderFencedError):
        await first.state().record_now(state_rig.key(1), DeliveredTarget(target="newsletter"), target="newsletter")
    key = state_rig.decide(99)
    state_rig.flush()
    await until_async(lambda: second.sent and second.pending() == 0)
    assert [each.address_key for each in second.sent] == [key]
    assert first.metric("active_sender", propagator="default") == 0
    assert second.metric("active_sender", propagator="default") == 1
    await until_async(
        lambda: first.propagator.reader.positions == second.propagator.reader.positions, what="the standby"
    )
    assert first.pending() == 0


async def test_a_sender_waits_for_a_transaction_that_is_open_on_its_state_topic(state_rig: StateRig) -> None:
    foreign = clients.transactional_producer(
        state_rig.bootstrap, f"foreign-{uuid4().hex}", transaction_timeout_ms=60_000
    )
    foreign.init_transactions(10)
    foreign.begin_transaction()
    foreign.produce(state_rig.state_topic, None, b"other/h1.aaaa", partition=2)
    foreign.flush(10)
    process = state_rig.process()
    activation = asyncio.create_task(process.activate())
    reported = f"waiting for an open transaction on {state_rig.state_topic}:2"
    await until_async(lambda: any(reported in each for each in process.health.readiness()[1]), what="it is reported")
    assert not activation.done()
    foreign.commit_transaction(10)
    await activation


async def test_a_foreign_transaction_on_a_list_does_not_keep_a_sender_from_starting(state_rig: StateRig) -> None:
    foreign = clients.transactional_producer(
        state_rig.bootstrap, f"foreign-{uuid4().hex}", transaction_timeout_ms=60_000
    )
    foreign.init_transactions(10)
    foreign.begin_transaction()
    foreign.produce(state_rig.list_topic, None, b"h1.aaaa", partition=2)
    foreign.flush(10)
    process = state_rig.process()
    await process.activate()
    foreign.abort_transaction(10)


async def test_an_address_whose_plan_fails_holds_up_no_other(
    state_rig: StateRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = state_rig.key(1)
    real = tables.plan_address

    def plan_address(destination: Any, entry: Any, *arguments: Any, **named: Any) -> Any:
        if entry is not None and entry.address_key == failing:
            raise OverflowError("a date that no calendar has")
        return real(destination, entry, *arguments, **named)

    monkeypatch.setattr(tables, "plan_address", plan_address)
    monkeypatch.setattr(reader, "CHECK_SECONDS", 0.2)
    process = state_rig.process()
    await process.activate()
    state_rig.decide(1)
    key = state_rig.decide(2)
    state_rig.flush()
    await until_async(lambda: (key, "newsletter") in process.held())
    await until_async(lambda: process.state().counts() == {(True, "record"): 1}, what="it stays pending")
    assert process.metric("planning_failures_total", destination="crm") > 0
    monkeypatch.setattr(tables, "plan_address", real)
    await until_async(lambda: (failing, "newsletter") in process.held(), what="it is planned again")
    await until_async(lambda: process.pending() == 0)


async def test_a_time_in_the_year_11476_is_a_dead_letter_and_the_others_are_delivered(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    key = state_rig.key(1)
    far = 300_000_000_000_000_000
    decision = Decision(
        decision_id=str(uuid4()),
        subject_ref="s1",
        purpose="newsletter",
        status="withdrawn",
        effective_at=far,
        recorded_at=far,
    )
    entry = AddressEntry(tenant="acme", channel="sms", address_key=key, sealed_address=None, decisions=(decision,))
    state_rig.write(key, state_rig.codec.encode(state_rig.list_topic, entry_to_avro(entry, far)))
    other = state_rig.decide(2)
    state_rig.flush()
    await until_async(lambda: {each.address_key for each in process.sent} == {other} and process.pending() == 0)
    dead_letters = state_rig.topics.dead_letters("propagator")
    letters = [state_rig.codec.decode(dead_letters, value) for _, value in state_rig.read(dead_letters)]
    assert [each["reason"] for each in letters] == ["invalid_record"]


async def test_an_unreadable_entry_goes_to_dead_letters_once_and_nothing_is_pushed_for_it(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    broken = state_rig.decide(1)
    state_rig.flush()
    await until_async(lambda: (broken, "newsletter") in process.held() and process.pending() == 0)
    good = state_rig.codec.encode(state_rig.list_topic, entry_to_avro(state_rig.entries[broken], 1))
    state_rig.write(broken, good[:-3])
    key = state_rig.decide(2)
    state_rig.flush()
    await until_async(lambda: (key, "newsletter") in process.held() and process.pending() == 0)
    dead_letters = state_rig.topics.dead_letters("propagator")
    letters = [state_rig.codec.decode(dead_letters, value) for _, value in state_rig.read(dead_letters)]
    assert [each["reason"] for each in letters] == ["truncated"]
    assert f"crm/{broken}".encode() in state_rig.rows()
    await process.close()
    again = state_rig.process(destination(generation=1))
    await again.activate()
    await until_async(lambda: len(again.sent) == 1 and again.pending() == 0)
    assert len(state_rig.read(dead_letters)) == 1


def decide_often(rig: StateRig, number: int, purposes: list[str], status: str = "withdrawn") -> str:
    """Write an entry of as many subjects' decisions; answers its key. `flush` makes it certain."""
    key, now = rig.key(number), now_micros()
    decisions = tuple(
        Decision(
            decision_id=str(uuid4()),
            subject_ref=f"s{each}",
            purpose=purpose,
            status=status,
            effective_at=now,
            recorded_at=now,
        )
        for each, purpose in enumerate(purposes)
    )
    entry = AddressEntry(tenant="acme", channel="sms", address_key=key, sealed_address=None, decisions=decisions)
    rig.write(key, rig.codec.encode(rig.list_topic, entry_to_avro(entry, now)))
    return key


async def test_an_address_with_thousands_of_decisions_is_recorded_like_any_other(state_rig: StateRig) -> None:
    first = state_rig.process()
    await first.activate()
    purposes = [f"purpose{each}" for each in range(50)]
    crowded = decide_often(state_rig, 1, ["*"] * 3_000 + purposes)
    other = state_rig.decide(2)
    state_rig.flush()
    await until_async(lambda: {crowded, other} <= {each.address_key for each in first.sent}, what="delivered")
    await until_async(lambda: first.pending() == 0, what="read back")
    assert first.metric("records_too_large_total", destination="crm", record="row") == 0
    await first.close()
    second = state_rig.process(instance="two")
    await second.activate()
    await until_async(lambda: not second.propagator.reader.scanner.busy)
    assert second.sent == []


async def test_a_row_that_the_broker_refuses_for_its_size_holds_up_no_other(
    state_rig: StateRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "TOO_LARGE_SECONDS", 3.0)
    state_rig.limit_records(state_rig.state_topic, 20_000)
    process = state_rig.process(destination(push_permissions=True), propagator_permission_max_age=30)
    await process.activate()
    state_rig.resolve()
    crowded = decide_often(state_rig, 1, ["newsletter"] * 2_000)
    others = [state_rig.decide(each) for each in range(2, 6)]
    permitted = decide_often(state_rig, 7, ["newsletter"] * 2_000, "given")
    state_rig.flush()
    await until_async(
        lambda: set(others) <= {key.decode().partition("/")[2] for key in state_rig.rows()}, what="committed"
    )
    await until_async(lambda: process.metric("records_too_large_total", destination="crm", record="row") > 1)
    await until_async(lambda: process.state().permission_hindrance(crowded) == "row_too_large", what="it rests")
    await until_async(lambda: [each.address_key for each in process.sent].count(crowded) > 1, what="delivered again")
    assert permitted not in {each.address_key for each in process.sent}


async def test_an_unrecognised_record_that_is_too_large_for_a_dead_letter_stops_no_other(state_rig: StateRig) -> None:
    state_rig.limit_records(state_rig.list_topic, 4_000_000)
    process = state_rig.process()
    await process.activate()
    foreign = clients.producer(state_rig.bootstrap, message_max_bytes=4_000_000)
    foreign.produce(state_rig.list_topic, secrets.token_bytes(3_000_000), state_rig.key(1).encode(), partition=0)
    assert foreign.flush(30) == 0
    key = state_rig.decide(2)
    state_rig.flush()
    dead_letters = state_rig.topics.dead_letters("propagator")
    await until_async(lambda: (key, "newsletter") in process.held(), what="the others go on")
    await until_async(
        lambda: (
            process.registry.get_sample_value(
                "consent_relay_dead_letters_total",
                {"service": "propagator", "topic": state_rig.list_topic, "reason": "too_large"},
            )
            == 1
        )
    )
    letters = [state_rig.codec.decode(dead_letters, value) for _, value in state_rig.read(dead_letters)]
    assert [each["reason"] for each in letters] == ["too_large"]


async def test_an_entry_of_an_unknown_schema_waits_until_the_registry_knows_it(
    state_rig: StateRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CHECK_SECONDS", 0.2)
    process = state_rig.process()
    await process.activate()
    key = state_rig.key(1)
    state_rig.decide(1)  # Registers the entry; its record is replaced below.
    state_rig.flush()
    await until_async(lambda: (key, "newsletter") in process.held() and process.pending() == 0)
    value = state_rig.codec.encode(state_rig.list_topic, entry_to_avro(state_rig.entries[key], 2))
    real = Codec.decode

    def decode(codec: Codec, topic: str, data: bytes | None, **options: Any) -> dict[str, Any]:
        if data is not None and data[1:5] == b"\x7f\xff\xff\xff":
            raise RegistryUnavailableError("no answer")
        return real(codec, topic, data, **options)

    monkeypatch.setattr(Codec, "decode", decode)
    state_rig.write(key, value[:1] + b"\x7f\xff\xff\xff" + value[5:])
    other = state_rig.decide(2)
    state_rig.flush()
    await until_async(lambda: (other, "newsletter") in process.held())
    await until_async(lambda: process.state().counts() == {(True, "record"): 1})
    assert process.state().delivered_until() is None

    def decode_again(codec: Codec, topic: str, data: bytes | None, **options: Any) -> dict[str, Any]:
        return real(codec, topic, value if data is not None and data[1:2] == b"\x7f" else data, **options)

    monkeypatch.setattr(Codec, "decode", decode_again)
    await until_async(lambda: process.pending() == 0, what="it is planned again")


async def test_an_erased_address_is_forgotten_at_the_state_topic(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    await delivered(state_rig, process, range(2))
    key = state_rig.erase(1)
    state_rig.flush()
    await until_async(lambda: f"crm/{key}".encode() not in state_rig.rows())
    await until_async(lambda: process.pending() == 0)


async def test_no_permission_is_sent_while_the_list_is_old_or_has_a_hole(state_rig: StateRig) -> None:
    process = state_rig.process(destination(push_permissions=True), propagator_permission_max_age=2)
    await process.activate()
    key = state_rig.decide(1, "given")
    state_rig.flush()
    await until_async(lambda: process.pending() == 1)
    assert process.state().permission_hindrance(key) == "unknown"
    state_rig.resolve()
    await until_async(lambda: (key, "newsletter") in process.held(), what="permitted while the list is fresh")
    state_rig.resolve(hole="h-1")
    await until_async(lambda: process.state().permission_hindrance(key) == "hole")
    assert process.state().delivered_until() is None
    held_back = state_rig.decide(2, "given")
    withdrawn = state_rig.decide(3)
    state_rig.flush()
    await until_async(lambda: (withdrawn, "newsletter") in process.held(), what="suppressions go out")
    assert (held_back, "newsletter") not in process.held()
    state_rig.resolve()
    await until_async(lambda: (held_back, "newsletter") in process.held(), what="permitted after the repair")
    await until_async(lambda: process.state().permission_hindrance(key) == "too_old_for_permissions")


async def test_delivered_until_follows_the_list_and_stops_at_what_is_pending(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    assert process.state().delivered_until() is None
    state_rig.resolve()
    await until_async(lambda: process.state().delivered_until())
    process.workers["crm"].down = True
    before = now_micros()
    state_rig.decide(1)
    state_rig.flush()
    await until_async(lambda: process.pending() == 1)
    state_rig.resolve()
    recorded = state_rig.entries[state_rig.key(1)].decisions[0].recorded_at
    await until_async(lambda: process.state().delivered_until() == recorded)
    assert recorded >= before
    process.workers["crm"].down = False
    await until_async(lambda: (process.state().delivered_until() or 0) > recorded)
