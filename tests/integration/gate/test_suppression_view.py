"""The view on real servers: complete before it is used, fresh or silent, and never guessing (R4, R31)."""

from collections.abc import Callable, Sequence

import pytest
from confluent_kafka.admin import AdminClient

from consent_client import Answer, Checker, SuppressionView
from consent_contracts.codec import Codec
from consent_contracts.errors import RegistryUnavailableError
from consent_contracts.topics import Topics
from consent_kafka import provisioning
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.gate.entries import TENANT, Entries, decision, wait_for
from tests.integration.proxy import Proxy
from tests.support.list_resolved import ResolvedWriter
from tests.support.unpacking_bombs import send_bomb
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("resolving")

OpenView = Callable[..., SuppressionView]
PHONE = "+33639980001"
OTHER = "+33639980002"
HOUR = 3_600_000_000


def ask(view: SuppressionView, keyring: Keyring, address: str = PHONE, purpose: str = "newsletter") -> Answer:
    return Checker(view, keyring, TENANT, default_region="FR").check([address], purpose)[0]


def reasons(view: SuppressionView, keyring: Keyring, addresses: Sequence[str]) -> list[str]:
    return [answer.reason for answer in Checker(view, keyring, TENANT, default_region="FR").check(addresses, "news")]


def test_an_empty_list_is_usable_and_knows_no_address(open_view: OpenView, keyring: Keyring) -> None:  # R4
    view = open_view()
    answer = ask(view, keyring)
    assert (answer.permitted, answer.reason, answer.decision_id) == (False, "unknown", None)
    assert view.state.entries == 0


def test_a_view_is_not_used_before_it_holds_what_was_there_at_its_start(
    open_view: OpenView, entries: Entries, keyring: Keyring
) -> None:  # R31
    phones = [f"+336399800{number:02}" for number in range(40)]
    for phone in phones:
        entries.write("sms", phone, decision(status="withdrawn"))
    view = open_view(wait=False)
    while not view.usable:
        # "unknown" of those whose partition is loaded, if the last one was while the question was asked.
        assert set(reasons(view, keyring, phones)) <= {"stale", "unknown"}
        assert view.wait_until_usable(30)
    assert set(reasons(view, keyring, phones)) == {"unknown"}
    wait_for(view)  # Usable as of some seconds ago, it may still have to read what was written since.
    answers = Checker(view, keyring, TENANT, default_region="FR").check(phones, "newsletter")
    assert {answer.reason for answer in answers} == {"withdrawn"}
    assert view.state.entries == 40


def test_a_committed_change_is_seen_and_an_aborted_one_is_not(
    open_view: OpenView, entries: Entries, keyring: Keyring
) -> None:  # R31
    given = decision()
    entries.write("sms", PHONE, given)
    view = open_view()
    answer = ask(view, keyring, "06 39 98 00 01")
    assert (answer.permitted, answer.reason) == (True, "given")
    assert (answer.since, answer.decision_id) == (given.effective_at, given.decision_id)

    key = entries.key("sms", PHONE)
    gone = entries.codec.encode(
        entries.topics.suppression("sms"), entries.datum("sms", key, decision(status="objected"))
    )
    entries.write_bytes("sms", key, gone, abort=True)
    entries.write("sms", OTHER, decision(status="refused"))
    until(lambda: ask(view, keyring, OTHER).reason == "refused")
    assert ask(view, keyring).permitted
    entries.write_bytes("sms", key, gone)
    until(lambda: ask(view, keyring).reason == "objected")


def test_a_list_that_ends_with_an_aborted_transaction_becomes_usable(
    open_view: OpenView, entries: Entries, keyring: Keyring
) -> None:  # R31
    entries.write("sms", PHONE, decision())
    entries.write_bytes("sms", entries.key("sms", PHONE), b"never seen", abort=True)
    assert ask(open_view(), keyring).permitted


def test_a_tombstone_removes_the_entry(open_view: OpenView, entries: Entries, keyring: Keyring) -> None:
    key = entries.write("sms", PHONE, decision())
    view = open_view()
    entries.write_bytes("sms", key, None)
    until(lambda: ask(view, keyring).reason == "unknown")
    assert view.state.entries == 0


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x00\x7f\xff\xff\xff" + b"x" * 20, b"no avro at all"])
def test_an_unreadable_entry_denies_until_a_readable_one_replaces_it(
    open_view: OpenView, entries: Entries, keyring: Keyring, value: bytes
) -> None:  # R4
    entries.write("sms", PHONE, decision())
    view = open_view()
    assert ask(view, keyring).permitted
    entries.write_bytes("sms", entries.key("sms", PHONE), value)
    until(lambda: ask(view, keyring).reason == "unreadable")
    assert not ask(view, keyring).permitted
    assert view.state.unreadable == 1
    entries.write("sms", PHONE, decision())
    until(lambda: ask(view, keyring).permitted)
    assert view.state.unreadable == 0


def test_an_entry_cut_short_or_under_another_key_or_of_another_channel_denies(
    open_view: OpenView, entries: Entries, keyring: Keyring
) -> None:  # R4
    topic = entries.topics.suppression("sms")
    key = entries.key("sms", PHONE)
    whole = entries.codec.encode(topic, entries.datum("sms", key, decision()))
    entries.write_bytes("sms", key, whole[:-1])
    entries.write_bytes("sms", entries.key("sms", OTHER), whole)
    third = entries.key("sms", "+33639980003")
    entries.write_bytes("sms", third, entries.codec.encode(topic, entries.datum("voice", third, decision())))
    view = open_view()
    assert set(reasons(view, keyring, [PHONE, OTHER, "+33639980003"])) == {"unreadable"}


def test_expired_and_future_dated_permissions_deny(
    open_view: OpenView, entries: Entries, keyring: Keyring
) -> None:  # R4
    entries.write("sms", PHONE, decision(expires=now_micros() - 1))
    entries.write("sms", OTHER, decision(at=now_micros() + HOUR))
    entries.write("sms", "+33639980003", decision(expires=now_micros() + HOUR))
    view = open_view()
    assert ask(view, keyring).reason == "expired"
    assert ask(view, keyring, OTHER).reason == "future_dated"
    assert ask(view, keyring, "+33639980003").permitted
    assert not ask(view, keyring).permitted
    assert not ask(view, keyring, OTHER).permitted


def test_a_permission_expires_while_the_view_looks_on(
    open_view: OpenView, entries: Entries, keyring: Keyring
) -> None:  # R4
    entries.write("sms", PHONE, decision(expires=now_micros() + 3_000_000))
    view = open_view()
    assert ask(view, keyring).permitted
    until(lambda: ask(view, keyring).reason == "expired")


@pytest.mark.parametrize("fault", ["cut", "freeze"])
def test_without_the_broker_the_view_goes_stale_and_recovers(
    open_view: OpenView, entries: Entries, keyring: Keyring, kafka: str, fault: str
) -> None:  # R4, R31
    entries.write("sms", PHONE, decision())
    with Proxy(kafka, kafka=True) as proxy:
        view = open_view(bootstrap=proxy.address, stale_after=2.0)
        assert ask(view, keyring).permitted
        getattr(proxy, fault)()
        until(lambda: ask(view, keyring).reason == "stale", 10)
        assert not ask(view, keyring).permitted
        before = now_micros()
        entries.write("sms", PHONE, decision(status="withdrawn"))
        written = now_micros()
        proxy.heal()

        def withdrawn() -> bool:
            asked, answer = now_micros(), ask(view, keyring)
            if answer.permitted:  # By a resolved record of before, and no longer than it is valid.
                assert answer.as_of is not None
                assert before - 30_000_000 < answer.as_of <= written
                assert asked <= answer.valid_until <= answer.as_of + 2_000_000
            return answer.reason == "withdrawn"

        until(withdrawn, 40)


def test_a_recreated_topic_is_read_again(
    open_view: OpenView, entries: Entries, keyring: Keyring, kafka: str, registry_url: str
) -> None:  # R4
    entries.write("sms", PHONE, decision())
    view = open_view(stale_after=3.0)
    assert ask(view, keyring).permitted
    admin = AdminClient({"bootstrap.servers": kafka})
    topic = entries.topics.suppression("sms")
    admin.delete_topics([topic])[topic].result(30)
    until(lambda: topic not in admin.list_topics(timeout=10).topics)
    provisioning.apply(bootstrap=kafka, registry=registry_url, topics=entries.topics)
    until(lambda: ask(view, keyring).reason == "unknown", 60)
    entries.write("sms", PHONE, decision(status="withdrawn"))
    until(lambda: ask(view, keyring).reason == "withdrawn", 60)


class OutOfReach(Codec):
    """A codec that meets a schema it does not know while the registry is unavailable."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.unavailable = True

    def decode(self, topic: str, data: bytes | None, *, read_at: float | None = None) -> dict[str, object]:
        if self.unavailable:
            raise RegistryUnavailableError("unavailable")
        return self._codec.decode(topic, data, read_at=read_at)


def test_while_the_registry_is_unavailable_a_new_schema_makes_the_view_stale_and_loses_nothing(
    open_view: OpenView, entries: Entries, keyring: Keyring, codec: Codec
) -> None:  # R4
    cut_off = OutOfReach(codec)
    view = open_view(codec=cut_off, stale_after=1.5)
    assert ask(view, keyring).reason == "unknown"
    entries.write("sms", PHONE, decision(status="withdrawn"))
    until(lambda: ask(view, keyring).reason == "stale")
    cut_off.unavailable = False
    until(lambda: ask(view, keyring).reason == "withdrawn")


def test_a_fault_of_ours_is_kept_and_ends_all_answers(open_view: OpenView, entries: Entries, keyring: Keyring) -> None:
    class Broken(OutOfReach):
        def decode(self, topic: str, data: bytes | None, *, read_at: float | None = None) -> dict[str, object]:
            raise ZeroDivisionError

    view = open_view(codec=Broken(entries.codec))
    entries.write("sms", PHONE, decision())
    until(lambda: view.failure is not None)
    assert ask(view, keyring).reason == "stale"
    assert view.state.reason == "failed"
    with pytest.raises(ZeroDivisionError):
        view.wait_until_usable(0)


def test_a_missing_topic_is_waited_for(
    open_view: OpenView, keyring: Keyring, kafka: str, registry_url: str, topics: Topics, codec: Codec
) -> None:
    absent = Topics(prefix=f"{topics.prefix}late.", channels=("sms",))
    view = open_view(topics=absent, wait=False)
    assert not view.wait_until_usable(1.5)
    assert ask(view, keyring).reason == "stale"
    provisioning.apply(bootstrap=kafka, registry=registry_url, topics=absent)
    writer = ResolvedWriter(bootstrap=kafka, codec=Codec.connect(registry_url, absent), topics=absent)
    try:
        with writer.running():
            assert view.wait_until_usable(30)
    finally:
        admin = AdminClient({"bootstrap.servers": kafka})
        for deleted in admin.delete_topics([spec.name for spec in absent.specs()]).values():
            deleted.result()


def test_a_batch_that_no_client_can_unpack_is_passed_over(
    kafka: str, open_view: OpenView, entries: Entries, keyring: Keyring
) -> None:  # R4
    topic = entries.topics.suppression("sms")
    for partition in range(4):
        send_bomb(kafka, topic, partition)
    entries.write("sms", PHONE, decision())
    view = open_view()
    assert ask(view, keyring).permitted
    for partition in range(4):
        send_bomb(kafka, topic, partition)
    entries.write("sms", PHONE, decision(status="withdrawn"))
    until(lambda: not ask(view, keyring).permitted)
