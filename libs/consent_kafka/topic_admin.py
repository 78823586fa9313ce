"""What the broker has under our topics' names, and how to bring it to what is wanted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from consent_contracts.topics import TopicSpec
from consent_kafka import clients
from consent_kafka.errors import ProvisionError
from consent_kafka.offsets import offset_in
from consent_kafka.refusals import kafka_refusal
from consent_kafka.topic_plan import BrokerTopic, PartitionFacts

_REQUEST_SECONDS = 10.0
_NO_SUCH_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_ERRORS = 50
"""The last that the client has reported, among which the reason is why a broker does not answer."""


class TopicAdmin:
    """Reads and changes topics. Waits up to ``wait_seconds`` for a broker that is still starting; raises
    LinkRefusedError when one is there and the connection is refused."""

    def __init__(self, bootstrap: str, client_config: Mapping[str, Any] | None = None, *, wait_seconds: float) -> None:
        self._bootstrap = bootstrap
        self._client_config = dict(client_config or {})
        self._errors: deque[KafkaError] = deque(maxlen=_ERRORS)
        self._admin = clients.admin(
            bootstrap, {"log_level": 2, "error_cb": self._errors.append, **(client_config or {})}
        )
        self._wait_seconds = wait_seconds

    def existing(self, names: Sequence[str]) -> dict[str, BrokerTopic]:
        """Those of ``names`` that exist. A topic of which the broker cannot say all is not taken for an absent one."""
        listed = self._listed()
        for name in names:
            if name in listed and listed[name].error:
                raise ProvisionError(f"{name}: {listed[name].error.str()}")
        partitions = _partitions(listed)
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names if name in partitions]
        if not resources:
            return {}
        configs = self._admin.describe_configs(resources, request_timeout=_REQUEST_SECONDS)
        found = {}
        for resource, future in configs.items():
            entries = _result(future, f"reading the settings of {resource.name}")
            found[resource.name] = BrokerTopic(
                partitions=partitions[resource.name],
                replicas=min(len(each.replicas) for each in listed[resource.name].partitions.values()),
                config={name: str(entry.value) for name, entry in entries.items()},
            )
        return found

    def partitions(self, names: Sequence[str]) -> list[PartitionFacts]:
        """Of those of ``names`` that exist."""
        listed = self._listed()
        return [
            PartitionFacts(
                topic=name,
                partition=number,
                replicas=len(each.replicas),
                in_sync=len(each.isrs),
                has_leader=each.leader >= 0,
            )
            for name in names
            if name in listed
            for number, each in listed[name].partitions.items()
        ]

    def granted(self, names: Sequence[str]) -> dict[str, frozenset[str]]:
        """The operations on each of ``names`` that the broker permits us, in the words of Kafka's documentation. Topics
        that do not exist are left out."""
        self._listed()  # Waits for the broker.
        described = self._admin.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=True, request_timeout=_REQUEST_SECONDS
        )
        found: dict[str, frozenset[str]] = {}
        for name, future in described.items():
            try:
                operations = future.result(timeout=2 * _REQUEST_SECONDS).authorized_operations
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    found[name] = frozenset()
                elif error.args[0].code() not in _NO_SUCH_TOPIC:
                    raise ProvisionError(f"describing {name}: {error.args[0].str()}") from error
            except TimeoutError:
                raise ProvisionError(f"describing {name}: no answer") from None
            else:
                if operations is not None:
                    found[name] = frozenset(each.name.title().replace("_", "") for each in operations)
        return found

    def hidden_groups(self, names: Sequence[str]) -> frozenset[str]:
        """Those of the consumer groups ``names`` that the broker does not let us see."""
        described = self._admin.describe_consumer_groups(list(names), request_timeout=_REQUEST_SECONDS)
        found = set()
        for name, future in described.items():
            try:
                future.result(timeout=2 * _REQUEST_SECONDS)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    found.add(name)
            except TimeoutError:
                raise ProvisionError(f"describing group {name}: no answer") from None
        return frozenset(found)

    def ids(self, names: Sequence[str]) -> dict[str, str]:
        """The broker's id of each topic: one that was deleted and created again has another."""
        if missing := set(names) - _partitions(self._listed()).keys():
            raise ProvisionError(f"no such topic: {', '.join(sorted(missing))}; run: consent-relay topics apply")
        described = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=_REQUEST_SECONDS)
        return {name: str(_result(future, f"describing {name}").topic_id) for name, future in described.items()}

    def create(self, specs: Sequence[TopicSpec], *, replication: int, extra: Mapping[str, str]) -> None:
        """Create topics, with `extra` settings each, and return once every client can see them; one that exists already
        is left alone."""
        new = [NewTopic(spec.name, spec.partitions, replication, config={**spec.config, **extra}) for spec in specs]
        for name, future in self._admin.create_topics(new, request_timeout=_REQUEST_SECONDS).items():
            _result(future, f"creating {name}", accept=KafkaError.TOPIC_ALREADY_EXISTS)
        names = {spec.name for spec in specs}
        self._until(lambda: names <= _partitions(self._listed()).keys(), "the created topics are not visible yet")

    def configure(self, name: str, settings: Mapping[str, str]) -> None:
        """Set these settings of one topic, leave its others as they are, and return once they are in force."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in settings.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        altered = self._admin.incremental_alter_configs([resource], request_timeout=_REQUEST_SECONDS)
        for future in altered.values():
            _result(future, f"changing the settings of {name}")
        self._until(
            lambda: settings.items() <= self.existing([name])[name].config.items(),
            f"the changed settings of {name} are not in force yet",
        )

    def add_partitions(self, name: str, total: int) -> None:
        """Bring one topic to so many partitions, and return once every client can see them."""
        changed = self._admin.create_partitions([NewPartitions(name, total)], request_timeout=_REQUEST_SECONDS)
        for future in changed.values():
            _result(future, f"adding partitions to {name}")
        self._until(
            lambda: _partitions(self._listed()).get(name) == total,
            f"the added partitions of {name} are not visible yet",
        )

    def empty(self, partitions: Mapping[str, int]) -> frozenset[str]:
        """Those of these topics, given with their numbers of partitions, that hold no record."""
        places = [TopicPartition(name, number) for name, total in partitions.items() for number in range(total)]
        if not places:
            return frozenset()
        first, after_last = self._offsets(places, _EARLIEST), self._offsets(places, _LATEST)
        return frozenset(partitions) - {
            topic for topic, number in first if first[topic, number] != after_last[topic, number]
        }

    def _offsets(self, places: Sequence[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
        asked = self._admin.list_offsets(dict.fromkeys(places, which), request_timeout=_REQUEST_SECONDS)
        found = {}
        for place, future in asked.items():
            try:
                found[place.topic, place.partition] = offset_in(future, timeout=2 * _REQUEST_SECONDS)
            except KafkaException as error:
                raise ProvisionError(f"reading the offsets of {place.topic}: {error.args[0].str()}") from error
        return found

    def _listed(self) -> dict[str, Any]:
        deadline = time.monotonic() + self._wait_seconds
        while True:
            self._admin.poll(0)  # for its log lines
            try:
                listed = self._admin.list_topics(timeout=5)
            except KafkaException as error:
                self._admin.poll(0)
                if (refusal := kafka_refusal(self._bootstrap, self._client_config, self._errors)) is not None:
                    raise refusal from None
                if time.monotonic() >= deadline:
                    raise ProvisionError(
                        f"no answer from Kafka at {self._bootstrap} ({error.args[0].name()}): "
                        "check CONSENT_RELAY_KAFKA, and that the broker runs"
                    ) from error
            else:
                return listed.topics

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """The controller confirms a change a moment before every broker knows of it."""
        deadline = time.monotonic() + self._wait_seconds
        while not condition():
            if time.monotonic() >= deadline:
                raise ProvisionError(otherwise)
            time.sleep(0.05)


def _partitions(listed: Mapping[str, Any]) -> dict[str, int]:
    return {name: len(topic.partitions) for name, topic in listed.items() if not topic.error}


def _result(future: Any, doing: str, *, accept: int | None = None) -> Any:
    try:
        return future.result(timeout=2 * _REQUEST_SECONDS)
    except KafkaException as error:
        if error.args[0].code() == accept:
            return None
        raise ProvisionError(f"{doing}: {error.args[0].str()}") from error
    except TimeoutError:
        raise ProvisionError(f"{doing}: no answer") from None
