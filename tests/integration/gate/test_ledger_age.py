"""An answer is as old as the ledger that the list reflects, partition by partition (R4, R31, R55, R63)."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from consent_client import Answer, Checker, SuppressionView
from consent_contracts.partitioner import partition_of
from consent_contracts.topics import Topics
from consent_kafka import clients
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.gate.entries import TENANT, Entries, decision
from tests.support.list_resolved import PARTITIONS, ResolvedWriter
from tests.support.waiting import until

OpenView = Callable[..., SuppressionView]
SECOND = 1_000_000
HOUR = 3_600 * SECOND
LIMIT = 2.0


class Person:
    """An address with a permission, or without any entry."""

    def __init__(self, view: SuppressionView, keyring: Keyring, phone: str, unknown: str = "deny") -> None:
        policy: Any = unknown
        self.phone = phone
        self._checker = Checker(view, keyring, TENANT, default_region="FR", unknown=policy)

    def ask(self) -> Answer:
        (answer,) = self._checker.check([self.phone], "newsletter")
        return answer

    def reason(self) -> str:
        return self.ask().reason


@pytest.fixture
def phones(entries: Entries) -> list[str]:
    """One phone number for each partition."""
    found: dict[int, str] = {}
    for number in range(1_000):
        phone = f"+33639980{number:03}"
        found.setdefault(partition_of(entries.key("sms", phone).encode(), PARTITIONS), phone)
    return [found[partition] for partition in range(PARTITIONS)]


@pytest.fixture
def people(
    open_view: OpenView, entries: Entries, resolving: ResolvedWriter, keyring: Keyring, phones: list[str]
) -> list[Person]:
    """One person with a permission in each partition, and a view that adopts records all the time."""
    for phone in phones:
        entries.write("sms", phone, decision())
    view = open_view(stale_after=LIMIT)
    return [Person(view, keyring, phone) for phone in phones]


def every(people: list[Person], reason: str) -> Callable[[], bool]:
    return lambda: [each.reason() for each in people] == [reason] * len(people)


def test_while_the_relay_is_dead_the_age_grows_until_every_answer_is_no_and_it_recovers(
    people: list[Person], resolving: ResolvedWriter
) -> None:  # R63
    stopped = now_micros()
    resolving.fields = {partition: {"resolved_at": stopped} for partition in range(PARTITIONS)}
    until(every(people, "stale"), 30)
    answer = people[0].ask()
    assert (answer.permitted, str(answer.detail).partition(":")[0]) == (False, "stale")
    assert answer.as_of is not None
    assert answer.as_of <= stopped
    assert answer.valid_until < now_micros()
    resolving.fields = {}
    until(every(people, "given"), 30)


def test_while_the_merge_is_dead_no_record_comes_and_every_answer_becomes_no(
    open_view: OpenView, entries: Entries, resolved: ResolvedWriter, keyring: Keyring, phones: list[str]
) -> None:  # R63
    entries.write("sms", phones[0], decision())
    with resolved.running():
        view = open_view(stale_after=LIMIT)
        person, absent = Person(view, keyring, phones[0]), Person(view, keyring, phones[1], unknown="allow")
        assert person.ask().permitted
        assert absent.ask().permitted
    until(lambda: person.reason() == absent.reason() == "stale", 30)
    assert view.state.reason == "stale: partition 0, 1, 2, 3"
    assert (view.state.age_seconds or 0) > LIMIT


def test_one_old_partition_denies_no_address_of_the_others(
    people: list[Person], resolving: ResolvedWriter
) -> None:  # R63
    resolving.fields = {1: {"resolved_at": now_micros()}}
    until(lambda: people[1].reason() == "stale", 30)
    for person in (people[0], people[2], people[3]):
        answer = person.ask()
        assert answer.permits()
        assert answer.as_of is not None
        assert now_micros() - answer.as_of < LIMIT * SECOND


@pytest.mark.parametrize("stage", ["inbound", "bulk"])
def test_the_other_lanes_have_limits_of_their_own(
    people: list[Person], resolving: ResolvedWriter, stage: str
) -> None:  # R63
    resolving.fields = {2: {f"{stage}_resolved_at": now_micros() - HOUR}}
    until(lambda: people[2].reason() == "stale", 30)
    answer = people[2].ask()
    assert str(answer.detail).startswith(f"{stage}_stale: ")
    assert answer.as_of is not None
    assert people[0].ask().permitted


def test_a_hole_denies_its_partition_at_once_until_it_is_closed(
    people: list[Person], resolving: ResolvedWriter
) -> None:  # R63
    resolving.fields = {3: {"hole": "h1", "resolved_at": None, "bulk_resolved_at": None}}
    until(lambda: people[3].reason() == "hole", 30)
    assert people[3].ask().as_of is None
    assert people[3].ask().valid_until <= now_micros()
    assert people[0].ask().permitted
    resolving.fields = {}
    until(lambda: people[3].ask().permitted, 30)


def test_a_hole_of_one_channel_denies_that_channel_alone(people: list[Person], resolving: ResolvedWriter) -> None:
    resolving.fields = {0: {"channel_holes": {"sms": "h2"}}, 1: {"channel_holes": {"email": "h3"}}}  # R63
    until(lambda: people[0].reason() == "hole", 30)
    assert people[1].ask().permitted


def test_an_installation_whose_relay_has_never_run_denies(
    open_view: OpenView, entries: Entries, keyring: Keyring, phones: list[str]
) -> None:  # R4, R63
    entries.write("sms", phones[0], decision())
    view = open_view(wait=False)
    person = Person(view, keyring, phones[0], unknown="allow")
    until(lambda: view.state.reason == "unknown: partition 0, 1, 2, 3", 30)
    answer = person.ask()
    assert (answer.permitted, answer.reason, answer.as_of) == (False, "stale", None)
    assert str(answer.detail).startswith("unknown: ")
    assert view.state.age_seconds is None


def test_a_record_that_names_another_topic_of_the_same_name_is_not_adopted(
    people: list[Person], resolving: ResolvedWriter, topics: Topics
) -> None:  # R63
    lists = [{"topic": topics.suppression("sms"), "topic_id": "AAAAAAAAAAAAAAAAAAAAAA", "end_offset": 0}]
    resolving.fields = {0: {"lists": lists}}
    until(lambda: people[0].reason() == "stale", 30)
    assert people[1].ask().permitted


@pytest.fixture
def foreign(kafka: str, topics: Topics) -> Iterator[Producer]:
    """A producer whose transaction stays open until the end of the test."""
    producer = clients.transactional_producer(kafka, topics.group("foreign"), transaction_timeout_ms=600_000)
    producer.init_transactions(30)
    producer.begin_transaction()
    yield producer
    producer.abort_transaction(30)


@pytest.mark.parametrize("topic", ["list", "resolved"])
def test_an_open_transaction_denies_what_it_hides_beyond_the_limit(
    people: list[Person], entries: Entries, topics: Topics, foreign: Producer, topic: str
) -> None:  # R63
    name = topics.resolved if topic == "resolved" else topics.suppression("sms")
    foreign.produce(name, b"never committed", b"k", 2)
    assert foreign.flush(30) == 0
    entries.write("sms", people[2].phone, decision(status="withdrawn"))
    written = now_micros()

    def denied() -> bool:
        answer = people[2].ask()
        assert not answer.permitted or (answer.as_of or 0) <= written
        return answer.reason in ("stale", "withdrawn")

    until(denied, 30)
    until(lambda: people[2].reason() == "stale", 30)
    assert people[0].ask().permitted


def test_a_reader_whose_clock_is_an_hour_behind_adopts_nothing_and_reports_it(
    open_view: OpenView, entries: Entries, resolving: ResolvedWriter, keyring: Keyring, phones: list[str]
) -> None:  # R63
    entries.write("sms", phones[0], decision())
    view = open_view(wait=False, clock=lambda: now_micros() - HOUR)
    until(lambda: (view.timestamps.clock_lead or 0) < -3_590 * SECOND, 30)
    until(lambda: view.state.reason == "unknown: partition 0, 1, 2, 3", 30)
    assert not Person(view, keyring, phones[0]).ask().permitted


def test_a_reader_whose_clock_is_an_hour_ahead_denies_and_reports_it(
    open_view: OpenView, entries: Entries, resolving: ResolvedWriter, keyring: Keyring, phones: list[str]
) -> None:  # R63
    entries.write("sms", phones[0], decision())
    view = open_view(wait=False, clock=lambda: now_micros() + HOUR)
    until(lambda: (view.timestamps.clock_lead or 0) > 3_590 * SECOND, 30)
    until(lambda: view.state.reason == "stale: partition 0, 1, 2, 3", 30)
    assert not Person(view, keyring, phones[0]).ask().permitted


def test_a_clock_that_is_set_back_lengthens_no_permission_and_no_age(
    open_view: OpenView, entries: Entries, resolving: ResolvedWriter, keyring: Keyring, phones: list[str]
) -> None:  # R4, R63
    step = 0
    ends = now_micros() + 2 * SECOND
    entries.write("sms", phones[0], decision(expires=ends))
    entries.write("sms", phones[1], decision())

    def clock() -> int:
        return now_micros() + step

    view = open_view(stale_after=10.0, clock=clock)
    checker = Checker(view, keyring, TENANT, default_region="FR", now=clock)
    step = -HOUR

    def ask(phone: str) -> Answer:
        (answer,) = checker.check([phone], "newsletter")
        return answer

    def expired() -> bool:
        asked, answer = now_micros(), ask(phones[0])
        assert not answer.permitted or asked < ends + 100_000, "by the clock that was set back it has an hour left"
        return answer.reason == "expired"

    until(expired, 9)
    until(lambda: ask(phones[1]).reason == "stale", 30)
    step = 0
    until(lambda: ask(phones[1]).permitted, 30)
