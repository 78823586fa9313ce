"""The parked topic on a real broker: what is parked comes back, and a zombie's hand is stayed."""

import asyncio
import time
from typing import Any

import pytest

from consent_runtime import kafka
from propagator.parking import Fenced, Parking
from tests.integration.propagator.rig import Rig


class Held:
    """Who owns the partition, as the group coordinator would say."""

    def __init__(self) -> None:
        self.held = True

    def fresh(self) -> bool:
        return self.held


def parking(rig: Rig, partition: int, held: Held) -> Parking:
    return Parking(
        rig.codec,
        topic=rig.topics.parked,
        source=rig.topics.suppression("sms"),
        destination="crm",
        partition=partition,
        ownership=held,
        producer=lambda: kafka.transactional_producer(rig.bootstrap, rig.topics.group(f"crm.{partition}.parked")),
        consumer=lambda: kafka.consumer(rig.bootstrap, rig.topics.group("recovery"), enable_partition_eof=True),
    )


def datum(key: str, partition: int, offset: int) -> dict[str, Any]:
    now = time.time_ns() // 1000
    return {
        "destination": "crm",
        "tenant": "acme",
        "channel": "sms",
        "address_key": key,
        "source_partition": partition,
        "source_offset": offset,
        "entry": b"old bytes",
        "attempts": 6,
        "first_failed_at": now,
        "next_attempt_at": now,
        "detail": "http_500",
    }


async def test_what_is_parked_comes_back_with_the_newest_entry_and_a_zombie_is_fenced(rig: Rig) -> None:
    address = rig.decide(1)
    rig.decide(1, "refused", purpose="survey")
    rig.flush()
    key = rig.entries[address].address_key
    [partition] = [
        number
        for number in range(4)
        if any(k == key for k, _ in _partition(rig, rig.topics.suppression("sms"), number))
    ]
    before = Held()
    zombie = parking(rig, partition, before)
    await zombie.put(key, datum(key, partition, 0))
    owner = parking(rig, partition, Held())
    [found] = await owner.recover()
    assert (found.address_key, found.attempts) == (key, 6)
    assert found.entry is not None
    assert found.entry.offset == 1
    await owner.put(key, datum(key, partition, 1))
    before.held = False
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(zombie.forget(key), 3)  # Says nothing, as long as it is not sure.
    await zombie.close()
    latecomer = parking(rig, partition, before)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(latecomer.forget(key), 1)  # A producer of its own would fence the owner's.
    await latecomer.close()
    await owner.put(key, datum(key, partition, 1))
    assert [each.address_key for each in await owner.recover()] == [key]
    await owner.forget(key)
    assert not await owner.recover()
    # Two that are both sure: whoever is fenced says so aloud.
    await parking(rig, partition, Held()).forget(key)
    with pytest.raises(Fenced):
        await owner.forget(key)


def _partition(rig: Rig, topic: str, number: int) -> list[tuple[str, bytes | None]]:
    from confluent_kafka import TopicPartition

    consumer = kafka.consumer(rig.bootstrap, rig.topics.group("look"), enable_partition_eof=True)
    consumer.assign([TopicPartition(topic, number, 0)])
    found: list[tuple[str, bytes | None]] = []
    try:
        while True:
            for message in consumer.consume(100, timeout=5.0):
                if message.error() is not None:
                    return found
                found.append(((message.key() or b"").decode(), message.value()))
    finally:
        consumer.close()
