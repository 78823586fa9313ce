"""Topics whose records are deleted, as retention does it, or an administrator."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

_POLICY = "cleanup.policy"


def truncate(kafka: str, names: Iterable[str]) -> None:
    """Delete all that these topics hold now. A compacted one is given a retention for as long as that takes."""
    admin = AdminClient({"bootstrap.servers": kafka})
    for name in names:
        [described] = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name)]).values()
        policy = str(described.result()[_POLICY].value)
        if policy == "compact":
            _set_policy(admin, name, "compact,delete")
        ends = [TopicPartition(name, each, OFFSET_END) for each in admin.list_topics(name).topics[name].partitions]
        for deleted in admin.delete_records(ends).values():
            deleted.result()
        if policy == "compact":
            _set_policy(admin, name, policy)


def _set_policy(admin: AdminClient, name: str, policy: str) -> None:
    entry = ConfigEntry(_POLICY, policy, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result()
