"""Which brokers there are, and whether each speaks what our clients need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent_kafka.clients import aiokafka_security
from consent_kafka.errors import ProvisionError
from consent_kafka.topic_admin import TopicAdmin
from consent_service.doctor.findings import Finding, Result, all_ok

NAME = "kafka"
ANSWER_SECONDS = 5.0
SECONDS = 30.0
"""Of the check: for a first question to any broker, one to each, and a second client's that finds out why."""

REQUIRED = {
    2: (2, "ListOffsets 2, last stable offsets (Kafka 0.11)"),
    3: (10, "Metadata 10, topic ids (Kafka 2.8)"),
    11: (5, "JoinGroup 5, static members (Kafka 2.3)"),
    22: (0, "InitProducerId, transactions (Kafka 0.11)"),
    44: (0, "IncrementalAlterConfigs (Kafka 2.3)"),
}
"""By the protocol's number of a request, the version that is needed, and what of."""
_SINCE = {60: "2.8", 65: "3.0", 75: "3.8"}
"""Requests that came with a release (DescribeCluster, DescribeTransactions, DescribeTopicPartitions), oldest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerFacts:
    """One broker. ``versions``: the highest of each request, by the protocol's number; empty where it did not answer,
    for the reason ``error``."""

    node: int
    address: str
    versions: Mapping[int, int]
    error: str = ""


def judge_brokers(brokers: Sequence[BrokerFacts]) -> Sequence[Finding]:
    """Whether each of the cluster's brokers answers and has every request that we use."""
    found = []
    for each in brokers:
        where = f"broker {each.node} ({each.address})"
        if each.error:
            cure = "see whether it runs, and whether its advertised listener can be reached from here"
            text = f"{where} does not answer: {each.error}"
            found.append(Finding(name=NAME, result=Result.FAULT, found=text, cure=cure))
            continue
        for number, (version, what) in REQUIRED.items():
            if each.versions.get(number, -1) < version:
                text = f"{where} lacks {what}"
                found.append(Finding(name=NAME, result=Result.FAULT, found=text, cure="run Kafka 2.8 or later"))
    addresses = ", ".join(each.address for each in brokers)
    release = min(_release(each.versions) for each in brokers) if brokers else ""
    return all_ok(NAME, found, f"{len(brokers)} brokers ({addresses}), with the protocol of Kafka {release} or later")


def _release(versions: Mapping[int, int]) -> str:
    known = [release for number, release in _SINCE.items() if number in versions]
    return known[-1] if known else "before 2.8"


def find_brokers(bootstrap: str, client_config: Mapping[str, Any]) -> Sequence[Finding]:
    """Asks each of them. Raises LinkRefusedError where they refuse us."""
    from aiokafka.errors import KafkaError

    try:
        return judge_brokers(asyncio.run(_ask_each(bootstrap, client_config)))
    except (KafkaError, OSError, TimeoutError) as error:
        cause = type(error).__name__
    cure = "check CONSENT_RELAY_KAFKA, and that the brokers run"
    try:
        # librdkafka knows more of why: a password, a certificate, a protocol.
        TopicAdmin(bootstrap, client_config, wait_seconds=0).partitions([])
    except ProvisionError:
        text = f"no broker answers at {bootstrap} ({cause})"
        return [Finding(name=NAME, result=Result.FAULT, found=text, cure=cure)]
    text = f"brokers at {bootstrap} answer some requests alone ({cause})"
    return [Finding(name=NAME, result=Result.FAULT, found=text, cure=cure)]


async def _ask_each(bootstrap: str, client_config: Mapping[str, Any]) -> list[BrokerFacts]:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.errors import KafkaError
    from aiokafka.protocol.admin import ApiVersionRequest

    client = AIOKafkaClient(
        bootstrap_servers=bootstrap,
        request_timeout_ms=int(ANSWER_SECONDS * 1_000),
        **aiokafka_security(client_config),
    )
    try:
        async with asyncio.timeout(2 * ANSWER_SECONDS):
            await client.bootstrap()
        found = []
        for broker in sorted(client.cluster.brokers(), key=lambda each: each.nodeId):
            address = f"{broker.host}:{broker.port}"
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await client.send(broker.nodeId, ApiVersionRequest())
            except (KafkaError, OSError, TimeoutError) as error:
                name = type(error).__name__
                found.append(BrokerFacts(node=broker.nodeId, address=address, versions={}, error=name))
            else:
                versions = {number: highest for number, _, highest in answer.api_versions}
                found.append(BrokerFacts(node=broker.nodeId, address=address, versions=versions))
        return found
    finally:
        await client.close()
