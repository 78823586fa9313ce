"""The topics and schemas the system needs: created by `topics apply`, compared by `topics check`.

A service never creates a topic: one that is created by accident has the wrong partition count or is not
compacted, and is found out months later. Each service calls `require_topics` at its start instead.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import click
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from consent_contracts.topics import Topics, TopicSpec

if TYPE_CHECKING:
    from consent_runtime.settings import RelaySettings

_REQUEST_SECONDS = 10.0
_APPLY = "run `consent-relay topics apply`"


class ProvisionError(Exception):
    """The broker or the registry could not be brought to the wanted state; says what and the cure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing about one topic that is not as wanted, and what to do about it."""

    topic: str
    found: str
    wanted: str
    cure: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.found}, wanted {self.wanted}: {self.cure}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Existing:
    """What the broker has under one of our names."""

    partitions: int
    config: Mapping[str, str]


def apply(
    *,
    bootstrap: str,
    registry: str,
    topics: Topics,
    partitions: int = 4,
    replication: int = 1,
    min_insync: int | None = None,
    wait_seconds: float = 60.0,
) -> list[str]:
    """Create what is missing, correct settings that differ, register the schemas; safe to repeat.

    Returns what was done, one line each. Raises `ProvisionError` where a repair would need a person: a
    partition count cannot change under keys that are already written.
    """
    from consent_contracts import codec

    admin = _admin(bootstrap)
    specs = _wanted(topics.specs(partitions), min_insync)
    existing = _existing(admin, specs, wait_seconds=wait_seconds)
    done = []
    missing = [spec for spec in specs if spec.name not in existing]
    if missing:
        new = [
            NewTopic(spec.name, spec.partitions, replication, config=dict(spec.config)) for spec in missing
        ]
        for name, future in admin.create_topics(new, request_timeout=_REQUEST_SECONDS).items():
            _result(future, f"creating {name}", accept=KafkaError.TOPIC_ALREADY_EXISTS)
            done.append(f"created {name}")
        _await_visible(admin, [spec.name for spec in missing], wait_seconds=wait_seconds)
        existing = _existing(admin, specs, wait_seconds=wait_seconds)
    for spec in specs:
        done += _correct(admin, spec, existing[spec.name])
    wrong = [difference for spec in specs for difference in _partition_difference(spec, existing[spec.name])]
    if wrong:
        raise ProvisionError("\n".join(map(str, wrong)))
    codec.register(registry, topics)
    return [*done, "registered the schemas"]


def differences(
    *,
    bootstrap: str,
    topics: Topics,
    partitions: int,
    min_insync: int | None = None,
    only: Collection[str] | None = None,
    wait_seconds: float = 60.0,
) -> list[Difference]:
    """How the broker's topics differ from the wanted ones; `only` narrows to these topic names."""
    specs = _wanted(topics.specs(partitions), min_insync)
    if only is not None:
        specs = [spec for spec in specs if spec.name in only]
        if unknown := set(only) - {spec.name for spec in specs}:
            raise ValueError(f"not topics of ours: {sorted(unknown)}")
    existing = _existing(_admin(bootstrap), specs, wait_seconds=wait_seconds)
    found = []
    for spec in specs:
        if spec.name in existing:
            found += _partition_difference(spec, existing[spec.name])
            found += _config_differences(spec, existing[spec.name])
        else:
            found.append(
                Difference(
                    topic=spec.name, found="missing", wanted=f"{spec.partitions} partitions", cure=_APPLY
                )
            )
    return found


def require_topics(
    settings: RelaySettings, names: Collection[str] | None = None, *, wait_seconds: float = 60.0
) -> None:
    """Exit with code 2 unless these topics (default: all) exist as wanted; each difference is named.

    Waits up to `wait_seconds` for the broker itself, since services start beside it.
    """
    try:
        found = differences(
            bootstrap=settings.kafka,
            topics=settings.topics,
            partitions=settings.partitions,
            only=names,
            wait_seconds=wait_seconds,
        )
    except ProvisionError as error:
        _exit(2, [str(error)])
    if found:
        _exit(2, map(str, found))


def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})


def _wanted(specs: Sequence[TopicSpec], min_insync: int | None) -> list[TopicSpec]:
    if min_insync is None:
        return list(specs)
    setting = {"min.insync.replicas": str(min_insync)}
    return [
        TopicSpec(
            name=spec.name,
            record_name=spec.record_name,
            partitions=spec.partitions,
            config={**spec.config, **setting},
        )
        for spec in specs
    ]


def _existing(admin: AdminClient, specs: Sequence[TopicSpec], *, wait_seconds: float) -> dict[str, Existing]:
    metadata = _metadata(admin, wait_seconds)
    present = [spec for spec in specs if spec.name in metadata]
    resources = [ConfigResource(ConfigResource.Type.TOPIC, spec.name) for spec in present]
    configs = admin.describe_configs(resources, request_timeout=_REQUEST_SECONDS) if resources else {}
    existing = {}
    for resource, future in configs.items():
        entries = _result(future, f"reading the settings of {resource.name}")
        existing[resource.name] = Existing(
            partitions=metadata[resource.name],
            config={name: str(entry.value) for name, entry in entries.items()},
        )
    return existing


def _metadata(admin: AdminClient, wait_seconds: float) -> dict[str, int]:
    """Partition count by topic; waits for a broker that is still starting."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            listed = admin.list_topics(timeout=min(5.0, max(1.0, wait_seconds)))
            return {name: len(topic.partitions) for name, topic in listed.topics.items() if not topic.error}
        except KafkaException as error:
            if time.monotonic() >= deadline:
                cure = "check CONSENT_RELAY_KAFKA and that the broker runs"
                raise ProvisionError(f"no answer from Kafka ({error.args[0].name()}): {cure}") from error


def _await_visible(admin: AdminClient, names: Sequence[str], *, wait_seconds: float) -> None:
    """A created topic reaches the brokers' metadata a moment after the controller has confirmed it."""
    deadline = time.monotonic() + wait_seconds
    while absent := set(names) - _metadata(admin, wait_seconds).keys():
        if time.monotonic() >= deadline:
            raise ProvisionError(f"created, yet not visible after {wait_seconds:.0f} s: {sorted(absent)}")
        time.sleep(0.05)


def _partition_difference(spec: TopicSpec, existing: Existing) -> list[Difference]:
    if existing.partitions == spec.partitions:
        return []
    return [
        Difference(
            topic=spec.name,
            found=f"{existing.partitions} partitions",
            wanted=str(spec.partitions),
            cure=(
                f"set CONSENT_RELAY_PARTITIONS={existing.partitions} if every topic has that many, "
                "or delete the topic, apply, and `consent-relay republish`"
            ),
        )
    ]


def _config_differences(spec: TopicSpec, existing: Existing) -> list[Difference]:
    return [
        Difference(
            topic=spec.name,
            found=f"{name}={existing.config.get(name)}",
            wanted=f"{name}={value}",
            cure=_APPLY,
        )
        for name, value in spec.config.items()
        if existing.config.get(name) != value
    ]


def _correct(admin: AdminClient, spec: TopicSpec, existing: Existing) -> list[str]:
    wrong = {name: value for name, value in spec.config.items() if existing.config.get(name) != value}
    if not wrong:
        return []
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wrong.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, spec.name, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource], request_timeout=_REQUEST_SECONDS).values():
        _result(future, f"changing the settings of {spec.name}")
    return [f"changed {spec.name}: {name}={value}" for name, value in wrong.items()]


def _result(future: Any, doing: str, *, accept: int | None = None) -> Any:
    try:
        return future.result(timeout=2 * _REQUEST_SECONDS)
    except KafkaException as error:
        if error.args[0].code() == accept:
            return None
        raise ProvisionError(f"{doing}: {error.args[0].str()}") from error


def _exit(code: int, lines: Any) -> NoReturn:
    for line in lines:
        sys.stderr.write(f"{line}\n")
    raise SystemExit(code)


@click.group()
def topics() -> None:
    """Create the Kafka topics and schemas the system needs, or compare what exists with what is wanted.

    Reads CONSENT_RELAY_KAFKA, CONSENT_RELAY_REGISTRY, CONSENT_RELAY_TOPIC_PREFIX, CONSENT_RELAY_CHANNELS and
    CONSENT_RELAY_PARTITIONS.
    """


_min_insync = click.option(
    "--min-insync",
    type=click.IntRange(min=1),
    default=None,
    help="min.insync.replicas of every topic: how many replicas must hold a record before it counts as "
    "written. Two, with three replicas, survives the loss of any one broker. Default: the broker's.",
)


@topics.command("apply")
@click.option(
    "--replication",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Replicas of each topic that is created; three in production. Existing topics keep theirs.",
)
@_min_insync
def apply_command(replication: int, min_insync: int | None) -> None:
    """Create missing topics, correct their settings, register the schemas. Safe to repeat."""
    from consent_contracts.codec import ContractError

    settings = _settings()
    try:
        done = apply(
            bootstrap=settings.kafka,
            registry=settings.registry,
            topics=settings.topics,
            partitions=settings.partitions,
            replication=replication,
            min_insync=min_insync,
        )
    except (ProvisionError, ContractError) as error:
        _exit(1, [str(error)])
    for line in done:
        click.echo(line)


@topics.command("check")
@_min_insync
def check_command(min_insync: int | None) -> None:
    """Say each difference between the topics and schemas that exist and those wanted; exit 1 if any."""
    from consent_contracts.codec import Codec, ContractError

    settings = _settings()
    try:
        found = [
            str(difference)
            for difference in differences(
                bootstrap=settings.kafka,
                topics=settings.topics,
                partitions=settings.partitions,
                min_insync=min_insync,
                wait_seconds=10,
            )
        ]
    except ProvisionError as error:
        found = [str(error)]
    try:
        Codec.connect(settings.registry, settings.topics, wait_seconds=10)
    except ContractError as error:
        found.append(f"registry: {error}: {_APPLY}")
    if found:
        _exit(1, found)
    click.echo("topics and schemas are as wanted")


def _settings() -> RelaySettings:
    from consent_runtime import settings

    return settings.load(settings.RelaySettings)
