"""Topics and schemas against the contract, and whether partitions have their leaders and replicas."""

from __future__ import annotations

from collections.abc import Sequence

from consent_kafka.topic_plan import Difference, PartitionFacts
from consent_service.doctor.findings import Finding, Result, all_ok

TOPICS, REGISTRY = "topics", "registry"


def judge_topics(differences: Sequence[Difference], partitions: Sequence[PartitionFacts]) -> Sequence[Finding]:
    """A difference with which services start is a warning."""
    found = [_finding(TOPICS, each) for each in differences]
    leaderless = [f"{each.topic}/{each.partition}" for each in partitions if not each.has_leader]
    if leaderless:
        text = f"{len(leaderless)} partitions have no leader, such as {leaderless[0]}: no one can read or write them"
        found.append(Finding(name=TOPICS, result=Result.FAULT, found=text, cure="start the brokers that hold them"))
    behind = [f"{each.topic}/{each.partition}" for each in partitions if each.in_sync < each.replicas]
    if behind:
        text = f"{len(behind)} partitions have replicas that are not in sync, such as {behind[0]}"
        found.append(Finding(name=TOPICS, result=Result.WARNING, found=text, cure="see which broker is down or slow"))
    fewest = min((each.replicas for each in partitions), default=0)
    topics = len({each.topic for each in partitions})
    return all_ok(TOPICS, found, f"{topics} as the contract requires them, {fewest} replicas or more")


def judge_schemas(differences: Sequence[Difference]) -> Sequence[Finding]:
    """Whether each schema that we write is registered, at its compatibility."""
    return all_ok(
        REGISTRY, [_finding(REGISTRY, each) for each in differences], "every schema is registered, compatible"
    )


def _finding(name: str, difference: Difference) -> Finding:
    found = f"{difference.of}: {difference.named(difference.found)}, wanted {difference.named(difference.required)}"
    cure = f"{difference.cure} ({difference.effect})" if difference.effect else difference.cure
    return Finding(name=name, result=Result.WARNING if difference.safe else Result.FAULT, found=found, cure=cure)
