"""The topics and schemas the system needs: compared by `topics plan`, created by `topics apply` (the commands are in
consent_api/cli/topics.py).

A service never creates a topic: one that comes into being by accident has the wrong number of partitions or is
not compacted, and is found out months later. Those that read or write what must not be lost compare first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Required, TypedDict, TypeVar, Unpack

from consent_contracts.topics import Topics
from consent_kafka import access
from consent_kafka.errors import ProvisionError, TopicMismatchError
from consent_kafka.topic_admin import TopicAdmin
from consent_kafka.topic_plan import (
    Difference,
    PartitionFacts,
    Remedy,
    partitions_differ,
    schema_differences,
    topic_differences,
)
from consent_service.errors import LinkRefusedError, RetryStoppedError
from consent_service.exits import exit_with_errors
from consent_service.retry import Backoff, Failure, retry

if TYPE_CHECKING:
    from consent_contracts.codec import ConfluentRegistry
    from consent_service.settings import ProcessSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

BACKOFF = Backoff((1.0,))
"""Between two questions to a broker that does not answer yet."""
_ASK_AGAIN_SECONDS = 0.2


class Provisioner:
    """Compares an installation's topics and schemas with those that are required, and changes them."""

    def __init__(
        self,
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
    ) -> None:
        """`replication`: replicas of topics that are created; `min_insync`: of each topic, None for the broker's.
        `client_config` and `registry_config` hold the security settings of the two connections. A server that does not
        answer is waited for up to `wait_seconds`, each."""
        self._admin = TopicAdmin(bootstrap, client_config, wait_seconds=wait_seconds)
        self._registry_url = registry
        self._registry_config = registry_config
        self._topics = topics
        self._specs = {spec.name: spec for spec in topics.specs(partitions)}
        self._replication = replication
        self._min_insync = min_insync
        self._wait_seconds = wait_seconds

    def plan(self) -> list[Difference]:
        """Every difference, of topics and schemas. Changes nothing. Raises ProvisionError where one of the servers
        does not answer, LinkRefusedError where it refuses us."""
        return [*self.topic_differences(), *self.schema_differences()]

    def topic_differences(self, only: Collection[str] | None = None) -> list[Difference]:
        """`only` narrows to these topic names."""
        if only is not None and (unknown := set(only) - self._specs.keys()):
            raise ValueError(f"not topics of ours: {sorted(unknown)}")
        specs = [spec for name, spec in self._specs.items() if only is None or name in only]
        existing = self._admin.existing([spec.name for spec in specs])
        wrong = [spec.name for spec in specs if spec.name in existing and partitions_differ(spec, existing[spec.name])]
        return topic_differences(
            specs,
            existing,
            empty=self._admin.empty({name: existing[name].partitions for name in wrong}),
            replication=self._replication,
            min_insync=self._min_insync,
        )

    def partitions(self, only: Collection[str] | None = None) -> list[PartitionFacts]:
        """Of those of the topics that exist; `only` as above."""
        return self._admin.partitions([name for name in self._specs if only is None or name in only])

    def schema_differences(self) -> list[Difference]:
        from consent_contracts.codec import own_subjects

        def states(registry: ConfluentRegistry) -> list[Difference]:
            subjects = own_subjects(self._topics)
            return list(schema_differences({each: registry.state(each, text) for each, text in subjects.items()}))

        return self._ask_registry(states)

    def carry_out(self, differences: Iterable[Difference], report: Callable[[str], None]) -> None:
        """Make these changes; `report` is called after each with a line. Safe to repeat. Raises ProvisionError."""
        changes = [each for each in differences if each.remedy is not Remedy.PERSON]
        if new := [self._specs[each.of] for each in changes if each.kind == "topic"]:
            extra = {} if self._min_insync is None else {"min.insync.replicas": str(self._min_insync)}
            self._admin.create(new, replication=self._replication, extra=extra)
            for spec in new:
                report(f"created {spec.name}")
        settings: dict[str, dict[str, str]] = {}
        for each in changes:
            if each.kind == "setting":
                settings.setdefault(each.of, {})[each.name] = each.required
        for topic, required in settings.items():
            self._admin.configure(topic, required)
            for name, value in required.items():
                report(f"changed {topic}: {name}={value}")
        for each in changes:
            if each.kind == "partitions":
                self._admin.add_partitions(each.of, self._specs[each.of].partitions)
                report(f"changed {each.of}: {each.required} partitions")
        subjects = dict.fromkeys(each.of for each in changes if each.kind in ("schema", "compatibility"))
        for subject in subjects:
            self._register(subject)
            report(f"registered {subject}")

    def _register(self, subject: str) -> None:
        from consent_contracts.codec import own_subjects

        text = own_subjects(self._topics)[subject]
        try:
            self._ask_registry(lambda registry: registry.register(subject, text))
        except ValueError as error:
            raise ProvisionError(str(error)) from error

    def _ask_registry(self, question: Callable[[ConfluentRegistry], T]) -> T:
        """Its answer; waits for a registry that does not answer yet."""
        from consent_contracts.codec import ConfluentRegistry
        from consent_contracts.errors import RegistryRefusedError, RegistryUnavailableError
        from consent_kafka.refusals import registry_refusal

        registry = ConfluentRegistry(self._registry_url, self._registry_config)
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                return question(registry)
            except RegistryRefusedError as error:
                raise registry_refusal(self._registry_url, error) from None
            except RegistryUnavailableError as error:
                if time.monotonic() >= deadline:
                    cure = "check CONSENT_RELAY_REGISTRY, and that the registry runs"
                    raise ProvisionError(f"{error}; {cure}") from error
                time.sleep(_ASK_AGAIN_SECONDS)


def provisioner(
    settings: ProcessSettings, *, replication: int = 1, min_insync: int | None = None, wait_seconds: float = 60.0
) -> Provisioner:
    """Of the installation that these settings name."""
    return Provisioner(
        bootstrap=settings.kafka,
        registry=settings.registry,
        topics=settings.topics,
        partitions=settings.partitions,
        replication=replication,
        min_insync=min_insync,
        client_config=settings.kafka_client,
        registry_config=settings.registry_client,
        wait_seconds=wait_seconds,
    )


class Installation(TypedDict, total=False):
    """What Provisioner takes."""

    bootstrap: Required[str]
    registry: Required[str]
    topics: Required[Topics]
    partitions: int
    replication: int
    min_insync: int | None
    client_config: Mapping[str, Any] | None
    registry_config: Mapping[str, Any] | None
    wait_seconds: float


def apply(**installation: Unpack[Installation]) -> list[str]:
    """For programs: create what is missing, and change what differs where nothing is deleted by it.

    Returns what was done, one line each. Raises ProvisionError where what is left keeps services from starting.
    """
    done: list[str] = []
    own = Provisioner(**installation)
    differences = own.plan()
    own.carry_out([each for each in differences if each.remedy is Remedy.APPLY], done.append)
    if left := [each for each in differences if each.remedy is not Remedy.APPLY and not each.safe]:
        raise ProvisionError("\n".join(map(str, left)))
    return done


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
    found = provisioner(settings, wait_seconds=wait_seconds).topic_differences(names)
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
