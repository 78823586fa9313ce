"""The propagator on real Kafka and real HTTP: told, proved, and nothing lost whatever dies."""

import random
import time

from tests.integration.propagator.rig import Rig, until
from tests.rewind import rewind


def test_a_choice_reaches_each_destination_with_its_receipts(rig: Rig) -> None:  # R1, R28, R43
    worker = rig.start().until_ready()
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
    assert worker.metric("propagation_latency_seconds_count", destination="crm") == 2
    # The gauge knows the last look at what is untold; the next one comes a quarter of a second later.
    until(lambda: worker.metric("propagation_oldest_untold_revocation_seconds") == 0)
    assert worker.stop() == 0, worker.log.read_text()[-3000:]


def test_an_outage_is_waited_out_while_the_other_destination_flows(rig: Rig) -> None:  # R2
    worker = rig.start().until_ready()
    rig.sandbox.call("PUT", "/_control/outage/twilio", {"mode": "reset"})
    addresses = [rig.decide(number) for number in range(200)]
    rig.flush()
    until(lambda: all(rig.crm(address) == "suppressed" for address in addresses[:5]))
    until(lambda: len(rig.sandbox.state("webhook")) == 200)
    until(lambda: worker.metric("propagation_breaker_open", destination="twilio-fr") == 1)
    until(lambda: worker.metric("propagation_oldest_untold_revocation_seconds", destination="twilio-fr") > 3)
    until(lambda: worker.metric("propagation_oldest_untold_revocation_seconds", destination="crm") == 0)
    rig.sandbox.call("PUT", "/_control/outage/twilio", {"mode": "off"})
    until(lambda: len(rig.sandbox.state("twilio")) == 200, seconds=30)
    until(lambda: worker.metric("propagation_breaker_open", destination="twilio-fr") == 0)
    assert not rig.parked()


def test_an_outage_of_five_seconds_costs_little_more_than_five_seconds(rig: Rig) -> None:  # R2
    rig.start("twilio-fr").until_ready()
    begun = time.monotonic()
    number, down = 0, False
    while (passed := time.monotonic() - begun) < 14:
        if down != (3 <= passed < 8):
            down = not down
            rig.sandbox.call("PUT", "/_control/outage/twilio", {"mode": "reset" if down else "off"})
        for _ in range(10):
            rig.decide(number := number + 1)
        rig.flush()
        time.sleep(0.1)
    until(lambda: len(rig.sandbox.state("twilio")) == number, seconds=30)

    def accepted() -> list[float]:
        proofs = [receipt for receipt in rig.receipts() if receipt["stage"] == "accepted"]
        return sorted((receipt["occurred_at"] - receipt["accepted_at"]) / 1_000_000 for receipt in proofs)

    until(lambda: len(accepted()) >= number)
    took = accepted()
    print(f"p50 {took[len(took) // 2]:.3f} s, p99 {took[len(took) * 99 // 100]:.1f} s, longest {took[-1]:.1f} s")
    assert took[len(took) * 99 // 100] <= 12.0
    assert not rig.parked()


def test_a_sender_that_is_wrong_holds_up_nobody_else(rig: Rig) -> None:  # R1
    rig.add_unknown_sender("survey")
    worker = rig.start("twilio-fr").until_ready()
    waiting = rig.decide(1, purpose="survey")
    rig.flush()
    until(lambda: worker.metric("propagation_parked_addresses", destination="twilio-fr") == 1)
    told = [rig.decide(number) for number in range(2, 40)]
    rig.flush()
    until(lambda: all(rig.twilio(address) == "suppressed" for address in told), seconds=5)
    assert rig.twilio(waiting) is None
    assert worker.metric("propagation_destination_verified", destination="twilio-fr") == 0


def test_a_poison_address_is_parked_survives_a_kill_and_a_newer_choice_replaces_it(rig: Rig) -> None:
    worker = rig.start("crm").until_ready()
    poison = "+33639980500"
    rig.sandbox.call(
        "POST", "/_control/faults", {"account": "webhook", "kind": "reject", "times": 0, "addresses": [poison]}
    )
    assert rig.decide(500) == poison
    number = 0
    deadline = time.monotonic() + 60
    while not worker.metric("propagation_parked_addresses", destination="crm"):
        assert time.monotonic() < deadline, "the poison address is not parked"
        rig.decide(number := number + 1)
        rig.flush()
        time.sleep(0.1)
    until(lambda: len(rig.sandbox.state("webhook")) == number, what="the others flow")
    until(lambda: any(each["stage"] == "failed" for each in rig.receipts()))
    assert [key.split("|")[0] for key in rig.parked()] == ["crm"]
    worker.kill()
    again = rig.start("crm").until_ready()
    until(lambda: again.metric("propagation_parked_addresses", destination="crm") == 1)
    rig.sandbox.call("DELETE", "/_control/faults")
    rig.decide(500)
    rig.flush()
    until(lambda: rig.crm(poison) == "suppressed")
    until(lambda: not rig.parked())
    until(lambda: again.metric("propagation_parked_addresses", destination="crm") == 0)


def test_kill_9_in_the_middle_of_pushing_loses_nothing(rig: Rig) -> None:  # R43
    rng = random.Random(7)
    rig.sandbox.call("PUT", "/_control/latency/twilio", {"p50_ms": 100, "p99_ms": 300})
    told = rig.start().until_ready()
    for _ in range(3):
        for number in range(300):
            rig.decide(number, rng.choice(["withdrawn", "refused", "objected"]))
        rig.flush()
        time.sleep(rng.random() * 0.5)
        told.kill()
        told = rig.start().until_ready()
    until(lambda: len(rig.sandbox.state("twilio")) == 300 and len(rig.sandbox.state("webhook")) == 300)
    decided = {d.decision_id for entry in rig.entries.values() for d in entry.decisions}

    def untold(destination: str) -> set[str]:
        proved = [r for r in rig.receipts() if r["destination"] == destination and r["stage"] == "accepted"]
        return decided - {each for receipt in proved for each in receipt["decision_ids"]}

    until(lambda: not untold("twilio-fr") and not untold("crm"), what="a receipt for every standing decision")


def test_a_resumed_zombie_never_says_yes(rig: Rig) -> None:  # R43
    _resumed_after_newer_choices(rig, "given", "withdrawn")
    assert rig.sandbox.ever_said("webhook") == {"suppressed"}


def test_a_resumed_zombie_does_not_say_its_old_no_over_a_newer_yes(rig: Rig) -> None:  # R43
    addresses = _resumed_after_newer_choices(rig, "withdrawn", "given")
    assert {rig.crm(address) for address in addresses} == {"permitted"}


def _resumed_after_newer_choices(rig: Rig, old: str, new: str) -> list[str]:
    """Twenty addresses whose old choice a worker holds when it is frozen; a second tells the new one; it goes on."""
    worker = rig.start("crm").until_ready()
    rig.sandbox.call("PUT", "/_control/outage/webhook", {"mode": "unavailable"})
    addresses = [rig.decide(number, old) for number in range(20)]
    rig.flush()
    until(lambda: worker.metric("propagation_waiting_pushes", destination="crm") >= 20)
    worker.freeze()
    time.sleep(2.1)  # A permission counts two seconds older; the new choices are to be clearly newer.
    for number in range(20):
        rig.decide(number, new)
    rig.flush()
    rig.sandbox.call("PUT", "/_control/outage/webhook", {"mode": "off"})
    second = rig.start("crm", instance="two").until_ready()
    told = "permitted" if new == "given" else "suppressed"
    until(lambda: all(rig.crm(address) == told for address in addresses), what="the second worker tells")
    worker.thaw()
    until(lambda: worker.get("/metrics") or worker.process.poll() is not None, what="the zombie is back")
    time.sleep(5)  # Long enough for every retry that the zombie had under way.
    second.running()
    return addresses


def test_an_offset_reset_pushes_again_without_harm(rig: Rig) -> None:  # R30
    worker = rig.start("crm").until_ready()
    addresses = [rig.decide(number, "given") for number in range(20)]
    rig.flush()
    until(lambda: all(rig.crm(address) == "permitted" for address in addresses))
    time.sleep(2.1)  # A permission counts two seconds older; the refusals are to be clearly newer.
    for number in range(20):
        rig.decide(number, "withdrawn")
    rig.flush()
    until(lambda: all(rig.crm(address) == "suppressed" for address in addresses))
    assert worker.stop() == 0
    rig.sandbox.call("POST", "/_control/reset?account=webhook")
    rewind(rig.bootstrap, rig.topics.group("propagator.crm"), rig.topics.suppression("sms"), seconds=30)
    rig.start("crm").until_ready()
    until(lambda: all(rig.crm(address) == "suppressed" for address in addresses))
    assert rig.sandbox.ever_said("webhook") == {"suppressed"}
