"""How topics and schemas differ from those that the contract requires, and what it takes to change that. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from consent_contracts.codec import COMPATIBILITY, SubjectState
from consent_contracts.topics import TopicSpec

MIN_INSYNC = "min.insync.replicas"
_POLICY = "cleanup.policy"
_RETENTIONS = frozenset({"retention.ms", "delete.retention.ms"})
_MORE_IS_HARMLESS = frozenset({*_RETENTIONS, "max.message.bytes"})
_REASSIGN = "add replicas by kafka-reassign-partitions.sh (docs/upgrade.md)"

Kind = Literal["topic", "setting", "partitions", "replicas", "schema", "compatibility"]


class Remedy(StrEnum):
    """What changes it."""

    APPLY = "topics apply"
    ALLOW_DELETION = "topics apply --allow-deletion"
    ADD_PARTITIONS = "topics apply --add-partitions"
    PERSON = "a person"


def _run(remedy: Remedy) -> str:
    return f"run: consent-relay {remedy}"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerTopic:
    """One topic as the broker has it; ``config`` holds the settings in force, defaults included. ``replicas``: of the
    partition that has the fewest."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionFacts:
    """One partition: how many replicas it has, how many of them are in sync, and whether one leads."""

    topic: str
    partition: int
    replicas: int
    in_sync: int
    has_leader: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing that is not as required.

    ``of``: the topic, or the registry's subject. ``name``: of the setting, else empty. ``found`` and ``required`` are
    values of it. ``effect``: what the change deletes or breaks; empty where nothing is lost. ``safe``: services start
    with it, as no record is lost or goes to another partition.
    """

    of: str
    kind: Kind
    name: str = ""
    found: str
    required: str
    remedy: Remedy
    cure: str
    effect: str = ""
    safe: bool = False

    def __str__(self) -> str:
        effect = f" ({self.effect})" if self.effect else ""
        return f"{self.of}: {self.named(self.found)}, wanted {self.named(self.required)}; {self.cure}{effect}"

    def named(self, value: str) -> str:
        """A value with the name of its setting."""
        return f"{self.name}={value}" if self.name else value


def topic_differences(
    specs: Sequence[TopicSpec],
    existing: Mapping[str, BrokerTopic],
    *,
    empty: Collection[str],
    replication: int = 1,
    min_insync: int | None = None,
) -> list[Difference]:
    """``empty``: topics of which it is known that they hold no record. ``replication``: the fewest replicas that are
    required; ``min_insync``: min.insync.replicas of every topic, None for the broker's."""
    found: list[Difference] = []
    for spec in specs:
        topic = existing.get(spec.name)
        if topic is None:
            found.append(_missing(spec, replication, min_insync))
            continue
        found += _partitions(spec, topic, is_empty=spec.name in empty)
        found += _replicas(spec, topic, replication)
        found += _settings(spec, topic)
        found += _min_insync(spec, topic, min_insync)
    return found


def partitions_differ(spec: TopicSpec, topic: BrokerTopic) -> bool:
    """Of a topic that is not copartitioned more than required are harmless."""
    return topic.partitions != spec.partitions if spec.copartitioned else topic.partitions < spec.partitions


def schema_differences(subjects: Mapping[str, SubjectState]) -> Iterator[Difference]:
    """By subject, what the registry has of the schema that we write."""
    for subject, state in subjects.items():
        if state.compatibility != COMPATIBILITY and state.versions:
            yield Difference(
                of=subject,
                kind="compatibility",
                found=state.compatibility or "the registry's default",
                required=COMPATIBILITY,
                remedy=Remedy.APPLY,
                cure=_run(Remedy.APPLY),
            )
        if state.registered:
            continue
        found = f"{state.versions} other versions" if state.versions else "no schema"
        if state.compatible:
            yield Difference(
                of=subject,
                kind="schema",
                found=found,
                required="ours",
                remedy=Remedy.APPLY,
                cure=_run(Remedy.APPLY),
            )
        else:
            yield Difference(
                of=subject,
                kind="schema",
                found=f"{found}, incompatible with ours",
                required="ours",
                remedy=Remedy.PERSON,
                cure="use the release whose schemas these are, or a topic prefix or a registry of its own: readers of"
                " one could not read records of the other",
            )


def _missing(spec: TopicSpec, replication: int, min_insync: int | None) -> Difference:
    unwritable = (min_insync or 0) > replication
    remedy = Remedy.PERSON if unwritable else Remedy.APPLY
    return Difference(
        of=spec.name,
        kind="topic",
        found="no such topic",
        required=f"one with {spec.partitions} partitions",
        remedy=remedy,
        cure=f"give --replication {min_insync} or more: no producer could write to fewer replicas"
        if unwritable
        else _run(remedy),
    )


def _partitions(spec: TopicSpec, topic: BrokerTopic, *, is_empty: bool) -> Iterator[Difference]:
    if not partitions_differ(spec, topic):
        return
    # Only where no address has a place yet: a key's partition is its hash modulo their number.
    can_grow = topic.partitions < spec.partitions and (is_empty or not spec.copartitioned)
    remedy = Remedy.ADD_PARTITIONS if can_grow else Remedy.PERSON
    otherwise = (
        _run(remedy)
        if can_grow
        else "stop every service, delete the topic, apply, and see: consent-relay republish --help. Partitions are"
        " neither added nor removed under keys that are written: an address would have entries in two of them"
    )
    yield Difference(
        of=spec.name,
        kind="partitions",
        found=f"{topic.partitions} partitions",
        required=str(spec.partitions),
        remedy=remedy,
        cure=f"set CONSENT_RELAY_PARTITIONS={topic.partitions} if every topic has that many, or {otherwise}",
        effect="the next records of a key go to another partition than its last" if can_grow and not is_empty else "",
        safe=not spec.copartitioned,
    )


def _replicas(spec: TopicSpec, topic: BrokerTopic, replication: int) -> Iterator[Difference]:
    if topic.replicas < replication:
        yield Difference(
            of=spec.name,
            kind="replicas",
            found=f"{topic.replicas} replicas",
            required=str(replication),
            remedy=Remedy.PERSON,
            cure=_REASSIGN,
            safe=True,
        )


def _settings(spec: TopicSpec, topic: BrokerTopic) -> Iterator[Difference]:
    for name, required in spec.config.items():
        found = topic.config.get(name, "")
        if found != required:
            effect = _deleted(name, found, required)
            remedy = Remedy.ALLOW_DELETION if effect else Remedy.APPLY
            yield Difference(
                of=spec.name,
                kind="setting",
                name=name,
                found=found,
                required=required,
                remedy=remedy,
                cure=_run(remedy),
                effect=effect,
                safe=name in _MORE_IS_HARMLESS and _is_more(found, required),
            )


def _min_insync(spec: TopicSpec, topic: BrokerTopic, required: int | None) -> Iterator[Difference]:
    found = topic.config.get(MIN_INSYNC, "")
    if required is None or found == str(required):
        return
    unwritable = required > topic.replicas
    remedy = Remedy.PERSON if unwritable else Remedy.APPLY
    yield Difference(
        of=spec.name,
        kind="setting",
        name=MIN_INSYNC,
        found=found,
        required=str(required),
        remedy=remedy,
        cure=f"{_REASSIGN} first: no producer could write to {topic.replicas}" if unwritable else _run(remedy),
    )


def _deleted(name: str, found: str, required: str) -> str:
    """What the broker deletes once the setting is changed; empty: nothing."""
    if name in _RETENTIONS and _is_more(found, required):
        what = "records" if name == "retention.ms" else "tombstones, which slow readers need,"
        return f"deletes {what} older than {_days(required)}"
    if name == "max.message.bytes" and _is_more(found, required):
        return f"refuses records of more than {required} bytes, which were taken until then"
    if name == _POLICY and (added := _policies(required) - _policies(found)):
        return "deletes all but the newest record of each key" if "compact" in added else "deletes old records"
    return ""


def _policies(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _days(millis: str) -> str:
    return f"{int(millis) / 86_400_000:g} days"


def _is_more(found: str, required: str) -> bool:
    return found == "-1" or (found.isdigit() and int(found) > int(required))  # -1: without end
