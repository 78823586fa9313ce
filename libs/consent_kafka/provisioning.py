"""The topics and schemas the system needs: created by `topics apply`, compared by `topics check` (the commands are in
consent_api/cli/topics.py).

A service never creates a topic: one that comes into being by accident has the wrong number of partitions or is
not compacted, and is found out months later. Those that read or write what must not be lost compare first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from consent_contracts.topics import Topics, TopicSpec
from consent_kafka import access
from consent_kafka.errors import ProvisionError, TopicMismatchError
from consent_kafka.topic_admin import BrokerTopic, TopicAdmin
from consent_service.errors import LinkRefusedError, RetryStoppedError
from consent_service.exits import exit_with_errors
from consent_service.retry import Backoff, Failure, retry

if TYPE_CHECKING:
    from consent_service.settings import ProcessSettings

log = logging.getLogger(__name__)

BACKOFF = Backoff((1.0,))
"""Between two questions to a broker that does not answer yet."""

_APPLY = "run: consent-relay topics apply"
_MORE_IS_HARMLESS = {"retention.ms", "delete.retention.ms", "max.message.bytes"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicDiff:
    """One thing about one topic that is not as wanted, and what to do about it."""

    topic: str
    found: str
    wanted: str
    cure: str
    safe: bool = False
    """Nothing is lost by it: more is kept, or for longer."""

    def __str__(self) -> str:
        return f"{self.topic}: {self.found}, wanted {self.wanted}; {self.cure}"


def apply(
    *,
    bootstrap: str,
    registry: str,
    topics: Topics,
    partitions: int = 4,
    replication: int = 1,
    min_insync: int | None = None,
    client_config: Mapping[str, Any] | None = None,
    registry_config: Mapping[str, Any] | None = None,
    wait_seconds: float = 60.0,
) -> list[str]:
    """Create what is missing, correct settings that differ, register the schemas; safe to repeat. `client_config` and
    `registry_config` hold the security settings of the two connections.

    Returns what was done, one line each. Raises ProvisionError where the repair needs a person: the number of
    partitions cannot change under keys that are already written.
    """
    admin = TopicAdmin(bootstrap, client_config, wait_seconds=wait_seconds)
    specs = _wanted(topics, partitions, min_insync)
    names = [spec.name for spec in specs]
    existing = admin.existing(names)
    done = []
    if missing := [spec for spec in specs if spec.name not in existing]:
        admin.create(missing, replication=replication)
        done += [f"created {spec.name}" for spec in missing]
        existing = admin.existing(names)
    if gone := set(names) - existing.keys():
        raise ProvisionError(f"deleted meanwhile: {', '.join(sorted(gone))}; repeat the command")
    for spec in specs:
        if settings := _wrong_settings(spec, existing[spec.name]):
            admin.configure(spec.name, settings)
            done += [f"changed {spec.name}: {name}={value}" for name, value in settings.items()]
    if wrong := [each for spec in specs for each in _partition_difference(spec, existing[spec.name])]:
        raise ProvisionError("\n".join(map(str, wrong)))
    _register(registry, topics, registry_config, wait_seconds)
    return [*done, "registered the schemas"]


def diff_topics(
    *,
    bootstrap: str,
    topics: Topics,
    partitions: int,
    min_insync: int | None = None,
    only: Collection[str] | None = None,
    client_config: Mapping[str, Any] | None = None,
    wait_seconds: float = 60.0,
) -> list[TopicDiff]:
    """How the broker's topics differ from the wanted ones; `only` narrows to these topic names."""
    specs = _wanted(topics, partitions, min_insync)
    if only is not None:
        if unknown := set(only) - {spec.name for spec in specs}:
            raise ValueError(f"not topics of ours: {sorted(unknown)}")
        specs = [spec for spec in specs if spec.name in only]
    admin = TopicAdmin(bootstrap, client_config, wait_seconds=wait_seconds)
    existing = admin.existing([spec.name for spec in specs])
    found = []
    for spec in specs:
        if spec.name in existing:
            found += _partition_difference(spec, existing[spec.name])
            found += _setting_differences(spec, existing[spec.name])
        else:
            wanted = f"one with {spec.partitions} partitions"
            found.append(TopicDiff(topic=spec.name, found="no such topic", wanted=wanted, cure=_APPLY))
    return found


def diff_schemas(settings: ProcessSettings) -> list[str]:
    """How the registry's schemas differ from ours, or why it cannot be asked. Raises LinkRefusedError."""
    from consent_contracts.codec import Codec
    from consent_contracts.errors import ContractError, RegistryRefusedError

    try:
        Codec.connect(settings.registry, settings.topics, settings.registry_client, wait_seconds=10)
    except RegistryRefusedError as error:
        from consent_kafka.refusals import registry_refusal

        raise registry_refusal(settings.registry, error) from None
    except ContractError as error:
        return [str(error)]
    return []


def require_topics(
    settings: ProcessSettings, names: Collection[str] | None = None, *, wait_seconds: float = 60.0
) -> None:
    """Exit with code 2 unless these topics (default: all) exist as wanted; each difference is named.

    Waits up to `wait_seconds` for the broker itself, since services start beside it.
    """
    try:
        verify_topics(settings, names, wait_seconds=wait_seconds)
    except (ProvisionError, TopicMismatchError, LinkRefusedError) as error:
        exit_with_errors([str(error)])


def verify_topics(
    settings: ProcessSettings, names: Collection[str] | None = None, *, wait_seconds: float = 5.0
) -> None:
    """Ask the broker for these topics (default: all).

    Raises TopicMismatchError where records could be lost or go to another partition, LinkRefusedError where the broker
    refuses us or something that the process needs, and ProvisionError when it cannot say.
    """
    process = settings.service.removeprefix("consent-api-")
    if process in access.PROCESSES:
        # A propagator needs the lists of its own destinations only.
        require_access(settings, process, names if process == "propagator" else None, wait_seconds=wait_seconds)
    found = diff_topics(
        bootstrap=settings.kafka,
        topics=settings.topics,
        partitions=settings.partitions,
        only=names,
        client_config=settings.kafka_client,
        wait_seconds=wait_seconds,
    )
    if wrong := [each for each in found if not each.safe]:
        raise TopicMismatchError("\n".join(map(str, wrong)))


def wait_for_topics(
    settings: ProcessSettings, names: Collection[str], *, stop: threading.Event, waiting: Callable[[str], None]
) -> bool:
    """`verify_topics` until the broker has answered; False when `stop` is set first.

    `waiting` is called before each try, with the reason why the last one got no answer: at first "". Raises
    TopicMismatchError and LinkRefusedError."""

    def report(failure: Failure[ProvisionError]) -> None:
        reason = str(failure.error)
        if failure.is_news:
            log.warning("the topics cannot be verified yet", extra={"error": reason})
        waiting(reason)

    waiting("")
    try:
        retry(partial(verify_topics, settings, names), on=ProvisionError, backoff=BACKOFF, stop=stop, report=report)
    except RetryStoppedError:
        return False
    return not stop.is_set()


def require_access(
    settings: ProcessSettings, process: str, only: Collection[str] | None = None, *, wait_seconds: float = 0.0
) -> None:
    """Raises LinkRefusedError where the broker refuses the connection, or something that `process` needs (a name of
    `access`); ProvisionError when it cannot say. `only` narrows to these topics."""
    propagator = str(getattr(settings, "propagator_name", "default"))
    admin = TopicAdmin(settings.kafka, settings.kafka_client, wait_seconds=wait_seconds)
    acls = [
        acl
        for acl in access.required(process, settings.topics, propagator=propagator)
        if acl.resource != "topic" or only is None or acl.name in only
    ]
    groups = [acl.name for acl in acls if acl.resource == "group" and not acl.prefixed]
    lacking = access.missing(
        acls,
        topics=admin.granted([acl.name for acl in acls if acl.resource == "topic"]),
        # Where every client is anonymous there are seldom ACLs, and asking about groups takes their coordinator.
        groups=admin.hidden_groups(groups) if settings.kafka_client else (),
    )
    if lacking is not None:
        acl, operations = lacking
        raise LinkRefusedError(
            f"CONSENT_RELAY_KAFKA: {settings.kafka} does not grant {' and '.join(operations)} on {acl.resource}"
            f" {acl.name} to {settings.kafka_user}: add the ACL (docs/security-settings.md), or correct the user"
        )


def refuse_without_access(settings: ProcessSettings, process: str) -> None:
    """For commands: as `require_access`, and goes on when the broker does not answer, which they report themselves."""
    with suppress(ProvisionError):
        require_access(settings, process)


def _wanted(topics: Topics, partitions: int, min_insync: int | None) -> Sequence[TopicSpec]:
    specs = topics.specs(partitions)
    if min_insync is None:
        return specs
    extra = {"min.insync.replicas": str(min_insync)}
    return [replace(spec, config=spec.config | extra) for spec in specs]


def _register(registry: str, topics: Topics, client_config: Mapping[str, Any] | None, wait_seconds: float) -> None:
    from consent_contracts import codec
    from consent_contracts.errors import RegistryRefusedError, RegistryUnavailableError

    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            codec.register(registry, topics, client_config)
        except RegistryRefusedError as error:
            from consent_kafka.refusals import registry_refusal

            raise registry_refusal(registry, error) from None
        except RegistryUnavailableError as error:
            if time.monotonic() >= deadline:
                cure = "check CONSENT_RELAY_REGISTRY, and that the registry runs"
                raise ProvisionError(f"{error}; {cure}") from error
            time.sleep(0.2)
        except ValueError as error:
            raise ProvisionError(str(error)) from error
        else:
            return


def _partition_difference(spec: TopicSpec, existing: BrokerTopic) -> list[TopicDiff]:
    if existing.partitions == spec.partitions or not spec.copartitioned:
        return []
    cure = (
        f"set CONSENT_RELAY_PARTITIONS={existing.partitions} if every topic has that many, or stop every "
        "service, delete the topic, apply, and see: consent-relay republish --help"
    )
    return [
        TopicDiff(topic=spec.name, found=f"{existing.partitions} partitions", wanted=str(spec.partitions), cure=cure)
    ]


def _setting_differences(spec: TopicSpec, existing: BrokerTopic) -> list[TopicDiff]:
    return [
        TopicDiff(
            topic=spec.name,
            found=f"{name}={existing.config.get(name)}",
            wanted=f"{name}={value}",
            cure=_APPLY,
            safe=name in _MORE_IS_HARMLESS and _is_more(existing.config.get(name, ""), value),
        )
        for name, value in _wrong_settings(spec, existing).items()
    ]


def _wrong_settings(spec: TopicSpec, existing: BrokerTopic) -> dict[str, str]:
    return {name: value for name, value in spec.config.items() if existing.config.get(name) != value}


def _is_more(found: str, wanted: str) -> bool:
    return found == "-1" or (found.isdigit() and int(found) > int(wanted))  # -1: without end
