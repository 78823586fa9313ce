"""Topics whose records are deleted, as retention does it, or an administrator."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

_POLICY = "cleanup.policy"
_PATIENCE_SECONDS = 30.0


def truncate(kafka: str, names: Iterable[str]) -> None:
    """Delete all that these topics hold now. A compacted one is given a retention for as long as that takes."""
    admin = AdminClient({"bootstrap.servers": kafka})
    for name in names:
        ends = [TopicPartition(name, each, OFFSET_END) for each in admin.list_topics(name).topics[name].partitions]
        with _retention(admin, name):
            _delete(admin, ends)


def _delete(admin: AdminClient, ends: list[TopicPartition]) -> None:
    """Repeated until the broker knows of the policy, which it may acknowledge earlier."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            for deleted in admin.delete_records(ends).values():
                deleted.result()
            return
        except KafkaException as error:
            if error.args[0].code() != KafkaError.POLICY_VIOLATION or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextmanager
def _retention(admin: AdminClient, name: str) -> Iterator[None]:
    policy = _policy(admin, name)
    if policy != "compact":
        yield
        return
    _set_policy(admin, name, "compact,delete")
    try:
        yield
    finally:
        _set_policy(admin, name, policy)


def _policy(admin: AdminClient, name: str) -> str:
    [described] = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name)]).values()
    return str(described.result()[_POLICY].value)


def _set_policy(admin: AdminClient, name: str, policy: str) -> None:
    """Returns when the broker describes the topic so: services compare that at their start."""
    entry = ConfigEntry(_POLICY, policy, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _policy(admin, name) != policy:
        assert time.monotonic() < deadline, f"{name} does not get {_POLICY}={policy}"
        time.sleep(0.05)
