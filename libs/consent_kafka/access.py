"""What each process may do in Kafka: the table behind docs/security-settings.md, and the check of it at the start."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from consent_contracts.topics import SERVICES, Topics

Resource = Literal["topic", "group", "transactional-id"]

PROCESSES = ("relay", "ingest", "suppression", "gate", "propagator", "lag", "client")
"""Those that run all the time. The API process uses no Kafka."""
COMMANDS = ("topics", "republish", "verify", "keyring", "dead-letters", "dead-letters-replay", "destinations-forget")

_READ = ("Read", "DescribeConfigs")
_WRITE = ("Write", "DescribeConfigs")
_READ_WRITE = ("Read", "Write", "DescribeConfigs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Acl:
    """One line of the table. `prefixed`: `name` is what the names begin with. Read and Write include Describe."""

    resource: Resource
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False


def required(process: str, topics: Topics, *, propagator: str = "default") -> list[Acl]:
    """What `process`, one of PROCESSES or COMMANDS, needs. Those that compare their topics' settings at the start read
    these settings too (DescribeConfigs)."""
    lists = [topics.suppression(channel) for channel in topics.channels]
    resolved, state = topics.resolved, topics.propagation_state(propagator)
    changes = [topics.changes, topics.changes_bulk]
    inbound = [topics.inbound, topics.inbound_bulk, topics.receipts]
    letters = [topics.dead_letters(service) for service in SERVICES]
    sender = topics.group(f"propagator.{propagator}")
    match process:
        case "relay":
            return [
                *_topics([topics.changes, topics.renewals], _WRITE),
                *_topics([topics.changes_bulk], _READ_WRITE),
                *_topics([resolved], _READ),
                *_topics(lists, ("Read",)),
                *_groups(topics, "consent-api-holes", "consent-api-verify"),
            ]
        case "ingest":
            return [
                *_topics(inbound, _READ),
                *_topics([topics.results, topics.dead_letters("consent-api")], _WRITE),
                *_groups(topics, "consent-api-inbound", "consent-api-inbound-bulk", "consent-api-receipts"),
            ]
        case "suppression":
            return [
                *_topics(changes, _READ),
                *_topics([*lists, resolved], _READ_WRITE),
                *_topics([topics.dead_letters("suppression")], _WRITE),
                *_groups(topics, "suppression", "suppression-restore", "suppression-resolved"),
                Acl(
                    resource="transactional-id",
                    name=topics.group("suppression-"),
                    operations=("Write",),
                    prefixed=True,
                ),
            ]
        case "gate" | "client":
            return [
                *_topics([*lists, resolved], _READ if process == "gate" else ("Read",)),
                *_groups(topics, "view-resolved", *(f"view-{channel}" for channel in topics.channels)),
            ]
        case "propagator":
            return [
                *_topics([*lists, resolved, topics.propagation_active(propagator)], _READ),
                *_topics([state], _READ_WRITE),
                *_topics([topics.receipts, topics.dead_letters("propagator")], _WRITE),
                *_groups(topics, f"propagator.{propagator}", f"propagator.{propagator}.tables"),
                Acl(resource="transactional-id", name=sender, operations=("Write",)),
            ]
        case "lag":
            return [
                *_topics([spec.name for spec in topics.specs()], ("Read",)),
                Acl(
                    resource="group", name=topics.prefix or "*", operations=("Describe",), prefixed=bool(topics.prefix)
                ),
                *_groups(topics, "lag"),
            ]
        case "topics":
            create = ("Create", "Alter", "Describe", "DescribeConfigs", "AlterConfigs")
            return _topics([spec.name for spec in topics.specs()], create)
        case "republish":
            return [
                *_topics([topics.changes_bulk], ("Write",)),
                *_topics([*lists, resolved], ("Describe",)),
                Acl(resource="group", name=topics.group("suppression"), operations=("Describe",)),
            ]
        case "verify":
            return [*_topics([*lists, resolved], ("Read",)), *_groups(topics, "consent-api-verify")]
        case "keyring":
            return [*_topics([resolved], ("Read",)), *_groups(topics, "keyring")]
        case "dead-letters":
            return [*_topics(letters, ("Read",)), *_groups(topics, "dead-letters-reader")]
        case "dead-letters-replay":
            return [
                *_topics(letters, ("Read", "Write")),
                *_topics([*inbound, *changes], ("Write",)),
                *_groups(topics, "dead-letters-reader"),
                Acl(resource="transactional-id", name=topics.group("dead-letters-replay"), operations=("Write",)),
            ]
        case "destinations-forget":
            return [*_topics([state], ("Read", "Write")), *_groups(topics, "destinations-forget")]
        case _:
            raise ValueError(f"no process {process}")


def missing(
    acls: Sequence[Acl], *, topics: Mapping[str, Collection[str]], groups: Collection[str]
) -> tuple[Acl, tuple[str, ...]] | None:
    """The first line of `acls` that the broker does not grant, and which operations. `topics`: the operations that it
    grants on each topic that it has been asked about; `groups`: those that it has refused to describe."""
    for acl in acls:
        if acl.resource == "topic" and acl.name in topics:
            lacking = tuple(each for each in acl.operations if each not in topics[acl.name])
        elif acl.resource == "group" and acl.name in groups:
            lacking = acl.operations
        else:
            continue
        if lacking:
            return acl, lacking
    return None


def _topics(names: Sequence[str], operations: tuple[str, ...]) -> list[Acl]:
    return [Acl(resource="topic", name=name, operations=operations) for name in names]


def _groups(topics: Topics, *names: str) -> list[Acl]:
    return [Acl(resource="group", name=topics.group(name), operations=("Read",)) for name in names]
