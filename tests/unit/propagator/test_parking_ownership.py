"""Who may make a parking producer, and what becomes of writes that somebody else has fenced, or that fail for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from consent_contracts import Codec
from propagator import parking as module
from propagator.parking import Fenced, Parking
from propagator.settling import Settling
from tests.unit.propagator.harness import TOPIC, Durable, FakeParking, Ids, Provider, Worker, until


def kafka_error(code: int) -> Exception:
    return KafkaException(KafkaError(code))


class Broker:
    """What the producers of one transactional id do. `faults`: of the next commits."""

    def __init__(self) -> None:
        self.made = 0
        self.initialised = 0
        self.faults: list[Callable[[], Exception]] = []
        self.rows: list[bytes] = []
        self.fresh_now = True
        self.on_init: Callable[[], None] = lambda: None

    def fresh(self) -> bool:
        return self.fresh_now

    def producer(self) -> Any:
        self.made += 1
        return _Producer(self)


class _Producer:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._rows: list[bytes] = []

    def init_transactions(self, _seconds: float) -> None:
        self._broker.initialised += 1
        self._broker.on_init()

    def begin_transaction(self) -> None:
        self._rows = []

    def produce(self, _topic: str, *, key: bytes, **_: Any) -> None:
        self._rows.append(key)

    def commit_transaction(self, _seconds: float) -> None:
        if self._broker.faults:
            raise self._broker.faults.pop(0)()
        self._broker.rows += self._rows


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(module, "OWNERSHIP_SECONDS", 0.001)
    return Broker()


@pytest.fixture
async def parking(broker: Broker) -> AsyncIterator[Parking]:
    made = Parking(
        Codec(Ids()),
        topic="propagation.parked.v1",
        source=TOPIC,
        destination="crm",
        partition=0,
        ownership=broker,
        producer=broker.producer,
        consumer=lambda: pytest.fail("nothing is to be read"),
    )
    yield made
    await made.close()


async def test_a_transaction_that_failed_here_is_tried_again_while_the_partition_is_ours(
    broker: Broker, parking: Parking
) -> None:
    broker.faults = [lambda: kafka_error(KafkaError._TIMED_OUT)]
    await asyncio.wait_for(parking.forget("k"), 5)
    assert (broker.initialised, broker.rows) == (2, [b"crm|k"])


async def test_a_resumed_zombie_makes_no_producer_that_would_fence_its_successor(
    broker: Broker, parking: Parking
) -> None:
    def froze() -> Exception:
        """By the time the transaction fails, the partition is another's."""
        broker.fresh_now = False
        return kafka_error(KafkaError._TIMED_OUT)

    await parking.forget("before")
    broker.faults = [froze]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(parking.forget("k"), 0.1)
    assert broker.initialised == 1, "a second init_transactions: the rightful owner's producer is fenced now"
    assert broker.rows == [b"crm|before"]


async def test_the_first_producer_too_waits_for_ownership(broker: Broker, parking: Parking) -> None:
    broker.fresh_now = False
    writing = asyncio.create_task(parking.forget("k"))
    await asyncio.sleep(0.02)
    assert broker.initialised == 0
    broker.fresh_now = True
    await asyncio.wait_for(writing, 5)
    assert broker.rows == [b"crm|k"]


async def test_nothing_is_written_when_the_partition_is_lost_while_the_producer_is_made(
    broker: Broker, parking: Parking
) -> None:
    def lost() -> None:
        broker.fresh_now = False

    broker.on_init = lost
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(parking.forget("k"), 0.1)
    assert not broker.rows


async def test_who_is_fenced_and_surely_owns_the_partition_fails_loudly(broker: Broker, parking: Parking) -> None:
    await parking.forget("before")
    broker.faults = [lambda: kafka_error(KafkaError._FENCED)]
    with pytest.raises(Fenced):
        await asyncio.wait_for(parking.forget("k"), 5)
    assert broker.made == 1


async def test_who_is_fenced_and_not_sure_says_nothing_until_it_is(broker: Broker, parking: Parking) -> None:
    await parking.forget("before")
    broker.fresh_now = False
    broker.faults = [lambda: kafka_error(KafkaError._FENCED)]
    writing = asyncio.create_task(parking.forget("k"))
    await asyncio.sleep(0.02)
    assert not writing.done(), "a zombie waits to be closed; nothing it holds is acknowledged"
    broker.fresh_now = True
    with pytest.raises(Fenced):
        await asyncio.wait_for(writing, 5)
    assert broker.made == 1


async def test_a_zombie_that_waits_can_be_closed(broker: Broker, parking: Parking) -> None:
    broker.fresh_now = False
    writing = asyncio.create_task(parking.forget("k"))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(parking.close(), 5)
    assert not writing.done()
    writing.cancel()


async def test_what_fails_otherwise_fails_for_whoever_waits(broker: Broker, parking: Parking) -> None:
    """Nobody waits for ever, in silence, for a write that has ended."""
    broker.faults = [lambda: BufferError("queue full")]
    found = await asyncio.gather(parking.forget("a"), parking.forget("b"), return_exceptions=True)
    assert [type(each) for each in found] == [BufferError, BufferError]
    await asyncio.wait_for(parking.forget("c"), 5)
    assert broker.rows == [b"crm|c"]


async def test_a_rightful_owner_that_is_fenced_ends_the_worker() -> None:
    class Taken(FakeParking):
        async def forget(self, address_key: str) -> None:
            raise Fenced("crm: partition 0")

    durable = Durable()
    worker = Worker(durable, Provider())
    settling: Settling = worker.feed._settling
    settling._spawn(Taken(durable).forget("h1.a"))
    await until(lambda: bool(worker.bugs), 5)
    assert isinstance(worker.bugs[0], Fenced)
    await worker.dispatcher.stop()
