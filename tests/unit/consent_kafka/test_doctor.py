"""Brokers, topics and schemas: what is judged a fault, and with which cure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consent_kafka.doctor.brokers import REQUIRED, BrokerFacts, judge_brokers
from consent_kafka.doctor.topics import judge_schemas, judge_topics
from consent_kafka.topic_plan import Difference, PartitionFacts, Remedy
from consent_service.doctor.findings import Result

BROKER = BrokerFacts(
    node=1, address="kafka:9092", versions={number: version for number, (version, _) in REQUIRED.items()} | {60: 0}
)
PARTITION = PartitionFacts(topic="consent.changes.v1", partition=0, replicas=3, in_sync=3, has_leader=True)
DIFFERENCE = Difference(
    of="consent.changes.v1",
    kind="setting",
    name="retention.ms",
    found="1000",
    required="604800000",
    remedy=Remedy.APPLY,
    cure="run: consent-relay topics apply",
)


def test_brokers_that_speak_what_we_need_are_named_with_their_release() -> None:
    [found] = judge_brokers([BROKER, replace(BROKER, node=2, versions={**BROKER.versions, 65: 0, 75: 0})])
    assert found.result is Result.OK
    assert found.found == "2 brokers (kafka:9092, kafka:9092), with the protocol of Kafka 2.8 or later"


@pytest.mark.parametrize("number", REQUIRED)
def test_a_broker_without_a_request_that_we_use_is_a_fault(number: int) -> None:
    versions = {each: version for each, version in BROKER.versions.items() if each != number}
    [found] = judge_brokers([BROKER, replace(BROKER, node=2, versions=versions)])
    assert (found.result, found.cure) == (Result.FAULT, "run Kafka 2.8 or later")
    assert found.found.startswith("broker 2 (kafka:9092) lacks ")


def test_a_broker_that_does_not_answer_is_a_fault() -> None:
    [found] = judge_brokers([BROKER, replace(BROKER, node=2, versions={}, error="TimeoutError")])
    assert found.result is Result.FAULT
    assert found.found == "broker 2 (kafka:9092) does not answer: TimeoutError"


def test_a_topic_that_differs_is_a_fault_unless_services_start_with_it() -> None:
    [found] = judge_topics([DIFFERENCE], [PARTITION])
    assert (found.result, found.cure) == (Result.FAULT, "run: consent-relay topics apply")
    assert found.found == "consent.changes.v1: retention.ms=1000, wanted retention.ms=604800000"
    [kept] = judge_topics([replace(DIFFERENCE, safe=True, effect="deletes records")], [PARTITION])
    assert (kept.result, kept.cure) == (Result.WARNING, "run: consent-relay topics apply (deletes records)")
    [schema] = judge_schemas([replace(DIFFERENCE, of="consent.changes.v1-value", kind="schema", name="")])
    assert (schema.name, schema.result) == ("registry", Result.FAULT)


def test_partitions_without_leader_or_with_replicas_that_lag_are_counted() -> None:
    broken = [replace(PARTITION, partition=1, has_leader=False, in_sync=0), replace(PARTITION, partition=2, in_sync=2)]
    leaderless, behind = judge_topics([], [PARTITION, *broken])
    assert (leaderless.result, behind.result) == (Result.FAULT, Result.WARNING)
    assert "1 partitions have no leader, such as consent.changes.v1/1" in leaderless.found
    assert "2 partitions have replicas that are not in sync, such as consent.changes.v1/1" in behind.found


def test_what_is_as_required_is_one_line() -> None:
    [topics] = judge_topics([], [PARTITION])
    assert (topics.result, topics.found) == (Result.OK, "1 as the contract requires them, 3 replicas or more")
    assert [each.result for each in judge_schemas([])] == [Result.OK]
