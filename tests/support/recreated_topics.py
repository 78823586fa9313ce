"""Topics that are deleted and made again, empty and under new ids, as where a Kafka is wiped."""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka.admin import AdminClient

from consent_contracts import Topics
from consent_kafka import provisioning
from consent_kafka.errors import ProvisionError


def recreate(
    *, kafka: str, registry: str, topics: Topics, names: Iterable[str], partitions: int = 4, seconds: float = 60.0
) -> None:
    """Delete `names` of an installation and provision it again; fails where they are not new within `seconds`.

    A broker that has not finished a deletion still lists the topic, or refuses to describe it. So provisioning is
    repeated until it has reported each of them as created.
    """
    missing = set(names)
    admin = AdminClient({"bootstrap.servers": kafka})
    for deleted in admin.delete_topics(list(missing)).values():
        deleted.result()
    deadline = time.monotonic() + seconds
    while missing:
        assert time.monotonic() < deadline, f"not created again within {seconds:.0f} s: {sorted(missing)}"
        try:
            done = provisioning.apply(bootstrap=kafka, registry=registry, topics=topics, partitions=partitions)
        except ProvisionError:
            continue
        missing -= {name for name in missing if f"created {name}" in done}
