"""The broker's knowledge of groups and partitions, over librdkafka's admin client and one reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import admin as kafka_admin

from consent_kafka import clients
from consent_kafka.batches import RecordBatch
from consent_kafka.offsets import answer_in, offset_in
from lag_exporter.errors import BrokerUnavailableError, UnknownTopicError
from lag_exporter.lag import Bounds, Partition

_ASK_SECONDS = 5.0
_OFFSET_SPEC: Any = vars(kafka_admin)["OffsetSpec"]  # exported, but its stubs do not say so


class KafkaBroker:
    """Joins no group and commits nothing, so it disturbs no consumer and outlives every one."""

    def __init__(
        self,
        bootstrap: str,
        client_config: Mapping[str, Any] | None = None,
        *,
        group: str,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`group` is only the name that librdkafka requires of a consumer; `client_config` holds security settings by
        librdkafka's names. `beat` is called before each wait for the broker, of some seconds at most."""
        self._bootstrap = bootstrap
        self._beat = beat
        self._client_config = {"log_level": 2, **(client_config or {})}
        self._askers: dict[str, Any] = {}
        self._passed_over: dict[Partition, int] = {}
        self._admin = self._new_admin()
        self._readers: dict[bool, Any] = {
            committed: clients.consumer(
                bootstrap,
                group,
                client_config,
                on_unfetchable=self._pass_over,
                auto_offset_reset="earliest",
                enable_partition_eof=True,
                isolation_level="read_committed" if committed else "read_uncommitted",
                # One record a partition is wanted. The broker sends at least one however small this is.
                max_partition_fetch_bytes=4096,
                queued_max_messages_kbytes=1024,
            )
            for committed in (True, False)
        }

    def close(self) -> None:
        self.forget(())
        for reader in self._readers.values():
            reader.close()

    def groups(self, prefix: str) -> list[str]:
        self._beat()
        self._admin.poll(0)  # for its log lines
        listed = _answer(self._admin.list_consumer_groups(request_timeout=_ASK_SECONDS))
        if listed.errors:
            raise BrokerUnavailableError(f"not every broker has listed its groups: {listed.errors[0]}")
        return sorted(group.group_id for group in listed.valid if group.group_id.startswith(prefix))

    def partitions(self, topics: Collection[str]) -> list[Partition]:
        self._beat()
        try:
            known = self._readers[True].list_topics(timeout=_ASK_SECONDS).topics
        except KafkaException as error:
            raise BrokerUnavailableError(error.args[0].name()) from error
        return [
            Partition(topic, partition)
            for topic in sorted(topics)
            if topic in known
            for partition in known[topic].partitions
        ]

    def committed(self, group: str, places: Collection[Partition]) -> Mapping[Partition, int]:
        """By a consumer of the group that never joins it, as `forget` keeps one for each.

        The admin client's list_consumer_group_offsets takes the whole process down while the group's coordinator is
        not there yet (librdkafka #5040).
        """
        self._beat()
        try:
            asking = self._asking(group)
            asking.poll(0)  # It gets no records, only word of lost connections, which would pile up.
            found = asking.committed([TopicPartition(*place) for place in places], timeout=_ASK_SECONDS)
        except KafkaException as error:
            raise BrokerUnavailableError(error.args[0].name()) from error
        if any(each.error is not None for each in found):
            raise BrokerUnavailableError("not every committed offset is known")
        offsets = {Partition(each.topic, each.partition): each.offset for each in found if each.offset >= 0}
        assigned = {
            Partition(each.topic, each.partition): -1
            for member in self._members(group)
            if member.assignment is not None
            for each in member.assignment.topic_partitions
        }
        return {place: at for place, at in (assigned | offsets).items() if place in places}

    def _members(self, group: str) -> Any:
        self._beat()
        asked = self._admin.describe_consumer_groups([group], request_timeout=_ASK_SECONDS)
        try:
            return _answer(asked[group]).members
        except BrokerUnavailableError:
            # Once it has lost the coordinator this client does not find back to it (librdkafka 2.16); a new one does.
            self._admin.close()
            self._admin = self._new_admin()
            raise

    def _new_admin(self) -> clients.LastingAdmin:
        return clients.admin(self._bootstrap, self._client_config)

    def forget(self, groups: Collection[str]) -> None:
        for group in [each for each in self._askers if each not in groups]:
            self._askers.pop(group).close()

    def _asking(self, group: str) -> Any:
        if group not in self._askers:
            self._askers[group] = clients.consumer(self._bootstrap, group, self._client_config)
        return self._askers[group]

    def bounds(self, places: Iterable[Partition]) -> Mapping[Partition, Bounds]:
        places = list(places)
        if not places:
            return {}
        # The end is asked for before the last stable offset: what lies between the two is hidden, not younger.
        low = self._offsets(places, _OFFSET_SPEC.earliest(), IsolationLevel.READ_UNCOMMITTED)
        end = self._offsets(places, _OFFSET_SPEC.latest(), IsolationLevel.READ_UNCOMMITTED)
        stable = self._offsets(places, _OFFSET_SPEC.latest(), IsolationLevel.READ_COMMITTED)
        return {
            place: Bounds(low=low[place], stable=stable[place], end=end[place])
            for place in places
            if place in low and place in stable and place in end
        }

    def oldest_timestamps(
        self, positions: Mapping[Partition, int], *, committed: bool
    ) -> Mapping[Partition, int | None]:
        self._beat()
        found: dict[Partition, int | None] = {}
        reader = self._readers[committed]
        self._passed_over.clear()
        reader.assign([TopicPartition(*place, offset) for place, offset in positions.items()])
        deadline = time.monotonic() + _ASK_SECONDS
        try:
            while len(found) < len(positions) and time.monotonic() < deadline:
                for message in reader.consume(100, timeout=0.2):
                    place, error = Partition(message.topic(), message.partition()), message.error()
                    if error is None:
                        found.setdefault(place, message.timestamp()[1])
                    elif error.code() == KafkaError._PARTITION_EOF:
                        found.setdefault(place, None)
                    elif error.fatal():
                        raise BrokerUnavailableError(error.name())
                # A batch that cannot be unpacked is unread all the same.
                found = {**found, **self._passed_over}
        except KafkaException as error:
            raise BrokerUnavailableError(error.args[0].name()) from error
        finally:
            reader.unassign()
        return found

    def _pass_over(self, topic: str, partition: int, batch: RecordBatch) -> None:
        self._passed_over.setdefault(Partition(topic, partition), batch.timestamp)

    def _offsets(self, places: Iterable[Partition], spec: Any, isolation: IsolationLevel) -> dict[Partition, int]:
        self._beat()
        asked = self._admin.list_offsets(
            {TopicPartition(*place): spec for place in places},
            isolation_level=isolation,
            request_timeout=_ASK_SECONDS,
        )
        offsets = {}
        for tp, future in asked.items():
            # Else the topic was deleted, while the group still has an offset there.
            with suppress(UnknownTopicError):
                offsets[Partition(tp.topic, tp.partition)] = _answer(future, offset_in)
        return offsets


def _answer(future: Any, read: Callable[..., Any] = answer_in) -> Any:
    try:
        return read(future, timeout=2 * _ASK_SECONDS)
    except KafkaException as error:
        if error.args[0].code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            raise UnknownTopicError from error
        raise BrokerUnavailableError(error.args[0].name()) from error
