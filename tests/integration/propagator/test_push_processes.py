"""The propagator as a process on real Kafka and real HTTP: delivered, proved, and nothing lost whatever dies."""

from tests.integration.propagator.rig import Rig, until


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
