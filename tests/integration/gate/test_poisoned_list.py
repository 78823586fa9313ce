"""A stranger who may register schemas and produce records stops no view of the list, on real servers. # R10 # R16"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consent_client import Checker, SuppressionView
from consent_contracts.topics import Topics
from consent_kafka import clients as kafka_clients
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.gate.entries import TENANT, Entries, decision
from tests.support.list_resolved import ResolvedWriter
from tests.support.poisoned_records import YEAR_11476, poisoned
from tests.support.waiting import until

OpenView = Callable[..., SuppressionView]
PHONES = [f"+336399800{number:02}" for number in range(12)]


@pytest.mark.usefixtures("resolving")
def test_no_schema_and_no_record_stops_the_entries_behind_it(
    open_view: OpenView, entries: Entries, keyring: Keyring, topics: Topics, registry_url: str
) -> None:
    before = open_view()
    topic = topics.suppression("sms")
    some = entries.datum("sms", entries.key("sms", "+33639980099"), decision())
    values = poisoned(registry_url, topic, "SuppressionEntry", some, "written_at")
    values.append(entries.codec.encode(topic, {**some, "verdicts": _in_year_11476(some)}))
    for number, value in enumerate(values):
        entries.write_bytes("sms", entries.key("sms", f"+3363998010{number}"), value)
        entries.write("sms", PHONES[number], decision(status="withdrawn"))
    good, bad = PHONES[: len(values)], [f"+3363998010{number}" for number in range(len(values))]

    def reasons(view: SuppressionView) -> set[str]:
        return {each.reason for each in Checker(view, keyring, TENANT, default_region="FR").check(good, "newsletter")}

    until(lambda: reasons(before) == {"withdrawn"}, 60)
    after = open_view(wait=False)
    until(lambda: reasons(after) == {"withdrawn"}, 60)
    until(lambda: before.state.unreadable == after.state.unreadable == len(values), 60)
    for view in (before, after):
        answers = Checker(view, keyring, TENANT, default_region="FR").check(bad, "newsletter")
        assert not any(each.permitted for each in answers)


def test_no_statement_on_progress_stops_those_behind_it(
    open_view: OpenView, entries: Entries, keyring: Keyring, topics: Topics, registry_url: str, kafka: str
) -> None:
    resolved = ResolvedWriter(bootstrap=kafka, codec=entries.codec, topics=topics)
    stated = {
        "partition": 0,
        "resolved_at": now_micros(),
        **dict.fromkeys(("bulk_resolved_at", "inbound_resolved_at", "hole")),
        "lists": [],
        "inputs": [],
        "channel_holes": {},
        "written_at": now_micros(),
    }
    defaults = {"loss": 0, "bulk_loss": 0}
    values = poisoned(registry_url, topics.resolved, "ListResolved", {**stated, **defaults}, "written_at")
    odd = ({"partition": 2**31 - 1}, {"resolved_at": YEAR_11476}, {"loss": 2**63 - 1}, {"hole": "a\0b"})
    values += [entries.codec.encode(topics.resolved, {**stated, **each}) for each in odd]
    producer = kafka_clients.producer(kafka)
    for partition in range(4):
        for value in values:
            producer.produce(topics.resolved, value, b"stranger", partition)
    assert producer.flush(30) == 0
    entries.write("sms", PHONES[0], decision(status="withdrawn"))
    with resolved.running():
        view = open_view()
        answers = Checker(view, keyring, TENANT, default_region="FR").check([PHONES[0]], "newsletter")
    assert answers[0].reason == "withdrawn"


def _in_year_11476(datum: dict[str, object]) -> dict[str, object]:
    verdicts = datum["verdicts"]
    assert isinstance(verdicts, dict)
    return {purpose: {**each, "since": YEAR_11476} for purpose, each in verdicts.items()}
