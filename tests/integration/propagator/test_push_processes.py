"""The propagator as a process on real Kafka and real HTTP: delivered, proved, and nothing lost whatever dies."""

import random
import time

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from consent_contracts.partitioner import partition_of
from consent_kafka import clients
from tests.integration.propagator.rig import PARTITIONS, TOKEN, Rig
from tests.support.waiting import until


def test_a_choice_reaches_each_destination_with_its_row_and_receipts(rig: Rig) -> None:  # R1, R28, R43
    process = rig.start().until_active()
    rig.keep_resolving()
    address = rig.decide(1, "withdrawn")
    other = rig.decide(2, "given")
    rig.flush()
    until(lambda: rig.twilio(address) == "suppressed" and rig.crm(address) == "suppressed")
    until(lambda: rig.crm(other) == "permitted", what="the permission, where permissions are pushed")
    assert rig.twilio(other) is None

    def stages() -> set[tuple[str, str, str]]:
        return {(each["destination"], each["action"], each["stage"]) for each in rig.receipts()}

    until(lambda: ("crm", "permit", "accepted") in stages() and ("crm", "suppress", "accepted") in stages())
    until(lambda: ("twilio-fr", "suppress", "accepted") in stages())
    until(lambda: process.metric("propagation_backlog") == 0)
    key = rig.keyring.address_key("acme", "sms", address)
    [target] = rig.rows()[f"twilio-fr/{key}"]["targets"]
    assert target["action"] == "suppress"
    assert process.stop() == 0, process.log.read_text()[-3000:]


def test_credentials_are_read_from_their_file_while_the_process_sends(rig: Rig) -> None:  # R42
    token = rig.directory / "token"
    token.write_text(TOKEN)
    declared = rig.destinations.read_text().replace("auth_token: {env: TOKEN}", "auth_token: {file: token}")
    rig.destinations.write_text(declared)
    process = rig.start().until_active()

    def suppressed(number: int) -> bool:
        return rig.twilio(rig.address(number)) == "suppressed"

    def failures() -> float:
        return process.metric("secret_file_reload_errors_total", secret="destination-twilio-fr")

    rig.decide(1)
    rig.flush()
    until(lambda: suppressed(1))
    token.write_text("")
    until(lambda: failures() >= 1)
    rig.decide(2)
    rig.flush()
    until(lambda: suppressed(2), what="with the token before")
    token.write_text("the provider does not know this one")
    until(lambda: "secret" not in process.get("/readyz"))
    rig.decide(3)
    rig.flush()
    until(lambda: process.metric("propagation_destination_verified", destination="twilio-fr") == 0)
    assert not suppressed(3)
    token.write_text(TOKEN)
    until(lambda: suppressed(3), what="with the new token")
    assert process.running()


def test_an_outage_is_waited_out_while_the_other_destination_flows(rig: Rig) -> None:  # R2
    process = rig.start().until_active()
    rig.sandbox.call("PUT", "/_control/outage/twilio", {"mode": "reset"})
    addresses = [rig.decide(number) for number in range(200)]
    rig.flush()
    until(lambda: all(rig.crm(address) == "suppressed" for address in addresses), what="the other one flows")
    until(lambda: process.metric("propagation_breaker_open", destination="twilio-fr") == 1)
    until(lambda: process.metric("propagation_backlog", destination="twilio-fr") == 200)
    until(lambda: process.metric("propagation_backlog", destination="crm") == 0)
    rig.sandbox.call("PUT", "/_control/outage/twilio", {"mode": "off"})
    until(lambda: len(rig.sandbox.state("twilio")) == 200, seconds=40)
    until(lambda: process.metric("propagation_backlog") == 0)


def test_permissions_that_were_taken_back_during_an_outage_do_not_hold_up_a_partition(rig: Rig) -> None:
    """Issue 8: the tool kept "permitted" for people who had withdrawn, and the rest of the partition was never sent."""
    process = rig.start().until_active()
    rig.keep_resolving()
    keys = {number: rig.key(number) for number in range(5_000)}
    numbers = [number for number, key in keys.items() if partition_of(key.encode(), PARTITIONS) == 0][:900]
    before = {number: rig.decide(number, "given") for number in numbers[:100]}
    rig.flush()
    until(lambda: all(rig.crm(address) == "permitted" for address in before.values()), what="permitted before")
    rig.sandbox.call("PUT", "/_control/outage/webhook", {"mode": "unavailable"})
    for status in ("given", "refused") * 3:
        for number in numbers:
            rig.decide(number, status)
    for number in numbers:
        rig.decide(number, "given")
    withdrawn = [rig.decide(number) for number in numbers if number % 3 == 0]
    rig.flush()
    until(lambda: process.metric("propagation_backlog", destination="crm") >= len(numbers) - len(before))
    rig.sandbox.call("PUT", "/_control/outage/webhook", {"mode": "off"})
    expected = {rig.address(number): "suppressed" if number % 3 == 0 else "permitted" for number in numbers}
    assert set(withdrawn) == {address for address, state in expected.items() if state == "suppressed"}

    def held() -> dict[str, str]:
        return {address: targets["newsletter"] for address, targets in rig.sandbox.state("webhook").items()}

    until(lambda: held() == expected, seconds=180, what="the tool equals the list")
    until(lambda: process.metric("propagation_backlog", destination="crm") == 0)


def set_group_to_end(rig: Rig, topic: str) -> None:
    """What an operator does with kafka-consumer-groups --to-latest."""
    group, admin = rig.topics.group("propagator.default"), clients.admin(rig.bootstrap)
    ends = [TopicPartition(at.topic, at.partition, end) for at, end in rig.ends(topic).items()]
    for future in admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, ends)]).values():
        future.result()


def test_a_group_that_is_set_to_its_end_loses_nothing(rig: Rig) -> None:
    process = rig.start().until_active()
    first = rig.decide(1)
    rig.flush()
    until(lambda: rig.crm(first) == "suppressed")
    assert process.stop() == 0
    waiting = rig.decide(2)
    rig.flush()
    for topic in (rig.topics.suppression("sms"), rig.topics.propagation_state("default")):
        set_group_to_end(rig, topic)
    rig.start().until_active()
    until(lambda: rig.crm(waiting) == "suppressed", what="the tables' own positions decide")


def test_kill_9_in_the_middle_of_sending_loses_nothing(rig: Rig) -> None:  # R43
    rng = random.Random(7)
    rig.sandbox.call("PUT", "/_control/latency/twilio", {"p50_ms": 100, "p99_ms": 300})
    process = rig.start().until_active()
    for _ in range(3):
        for number in range(300):
            rig.decide(number, rng.choice(["withdrawn", "refused", "objected"]))
        rig.flush()
        time.sleep(rng.random() * 0.5)
        process.kill()
        process = rig.start().until_active()
    until(lambda: len(rig.sandbox.state("twilio")) == 300 and len(rig.sandbox.state("webhook")) == 300)
    decided = {d.decision_id for entry in rig.entries.values() for d in entry.decisions}

    def without_proof(destination: str) -> set[str]:
        proved = [r for r in rig.receipts() if r["destination"] == destination and r["stage"] == "accepted"]
        return decided - {each for receipt in proved for each in receipt["decision_ids"]}

    until(lambda: not without_proof("twilio-fr") and not without_proof("crm"), what="a receipt for every decision")


def test_a_standby_takes_over_from_a_sender_that_is_killed(rig: Rig) -> None:
    first = rig.start("one").until_active()
    standby = rig.start("two").until_ready()
    until(lambda: first.metric("propagation_active_sender") == 1, what="the partition stays where it is")
    assert standby.metric("propagation_active_sender") == 0
    first.kill()
    began = time.monotonic()
    address = rig.decide(1)
    rig.flush()
    until(lambda: rig.crm(address) == "suppressed")
    seconds = time.monotonic() - began
    print(f"a standby's first call {seconds:.2f} s after the kill, session time-out 6 s")
    assert seconds < 6 + 4


def test_a_standby_takes_over_at_once_from_a_sender_that_is_stopped(rig: Rig) -> None:
    first = rig.start("one").until_active()
    standby = rig.start("two").until_ready()
    until(lambda: first.metric("propagation_active_sender") == 1)
    first.process.terminate()
    began = time.monotonic()
    assert first.process.wait(10) == 0  # before the choice, which it would else still send
    address = rig.decide(1)
    rig.flush()
    until(lambda: rig.crm(address) == "suppressed")
    seconds = time.monotonic() - began
    print(f"a standby's first call {seconds:.2f} s after SIGTERM")
    assert standby.metric("propagation_active_sender") == 1
    assert seconds < 4


def test_a_sender_that_was_frozen_never_permits_after_it_goes_on(rig: Rig) -> None:  # R43
    _resumed_after_newer_choices(rig, "given", "withdrawn")
    assert rig.sandbox.ever_said("webhook") == {"suppressed"}


def test_a_sender_that_was_frozen_does_not_suppress_over_a_newer_permission(rig: Rig) -> None:  # R43
    addresses = _resumed_after_newer_choices(rig, "withdrawn", "given")
    assert {rig.crm(address) for address in addresses} == {"permitted"}


def _resumed_after_newer_choices(rig: Rig, old: str, new: str) -> list[str]:
    """Twenty addresses whose old choice is pending when the sender is frozen; a standby sends the new one."""
    first = rig.start("one").until_active()
    rig.keep_resolving()
    second = rig.start("two").until_ready()
    until(lambda: first.metric("propagation_active_sender") == 1)
    rig.sandbox.call("PUT", "/_control/outage/webhook", {"mode": "unavailable"})
    addresses = [rig.decide(number, old) for number in range(20)]
    rig.flush()
    until(lambda: first.metric("propagation_backlog", destination="crm") == 20)
    first.freeze()
    time.sleep(2.1)  # A permission counts two seconds older; the new choices are to be clearly newer.
    for number in range(20):
        rig.decide(number, new)
    rig.flush()
    rig.sandbox.call("PUT", "/_control/outage/webhook", {"mode": "off"})
    state = "permitted" if new == "given" else "suppressed"
    until(lambda: all(rig.crm(address) == state for address in addresses), what="the standby sends the new choices")
    first.thaw()
    until(lambda: first.metric("propagation_active_sender") == 0, what="the frozen one learns that it was replaced")
    before = rig.sandbox.state("webhook")
    marker = rig.decide(99)
    rig.flush()
    until(lambda: rig.crm(marker) == "suppressed", what="the new sender goes on")
    after = rig.sandbox.state("webhook")
    assert {address: after[address] for address in before} == before
    second.running()
    first.running()
    return addresses
