"""Transactions of rows and receipts, over a producer in memory that fails as the test sets it."""

import asyncio
import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from consent_service.health import Health
from propagator.errors import SenderFencedError
from propagator.state import committer as module
from propagator.state.committer import Committer, OutgoingRecord
from propagator.state.overlay import UndurableRow
from tests.support.waiting import until_async


class Message:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        return self._offset


class MemoryProducer:
    """Committed records in `log`, one list a transaction."""

    def __init__(self) -> None:
        self.log: list[list[dict[str, Any]]] = []
        self.failures: list[KafkaError] = []
        self.max_bytes = self.max_batch_bytes = 1_000
        self.aborted = 0
        self.committing, self.thawed = threading.Event(), threading.Event()
        self.thawed.set()
        self._open: list[dict[str, Any]] = []
        self._end = 0

    def init_transactions(self, timeout: float) -> None:
        pass

    def begin_transaction(self) -> None:
        self._open = []

    def produce(self, **record: Any) -> None:
        if len(record["value"]) > self.max_bytes:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self._open.append(record)

    def poll(self, timeout: float) -> None:
        pass

    def flush(self, timeout: float) -> int:
        if sum(len(record["value"]) for record in self._open) > self.max_batch_bytes:
            self.failures.append(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "a record failed", False, False, True))
            for record in self._open:
                record["on_delivery"](KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), Message(-1))
            return 0
        for record in self._open:
            self._end += 1
            record["on_delivery"](None, Message(self._end))
        return 0

    def commit_transaction(self, timeout: float) -> None:
        self.committing.set()
        self.thawed.wait(timeout)
        if self.failures:
            raise KafkaException(self.failures.pop(0))
        self.log.append(self._open)

    def abort_transaction(self, timeout: float) -> None:
        self.aborted += 1


class Rig:
    def __init__(self) -> None:
        self.producer = MemoryProducer()
        self.committed: list[tuple[str, int]] = []
        self.too_large: list[tuple[bytes | None, str | None]] = []
        self.lost = 0
        self.now = 0.0
        self.health = Health(clock=lambda: self.now)
        self.committer = Committer(
            lambda: self.producer,  # type: ignore[arg-type,return-value]
            on_committed=lambda row, offset: self.committed.append((row.address_key, offset)),
            on_too_large=lambda record, row: self.too_large.append((record.value, row and row.address_key)),
            on_lost=self._note_lost,
            beat=lambda: self.health.heartbeat("committer"),
            at_rest=lambda: self.health.at_rest("committer"),
        )

    def _note_lost(self) -> None:
        self.lost += 1

    def put(self, key: str, value: bytes = b"v", *receipts: bytes) -> None:
        row = UndurableRow(destination="crm", address_key=key, partition=1, rows={})
        record = OutgoingRecord(topic="state", key=key.encode(), value=value, partition=1)
        self.committer.put(row, record, [OutgoingRecord(topic="receipts", key=b"k", value=each) for each in receipts])

    def values(self) -> list[list[bytes]]:
        return [[record["value"] for record in transaction] for transaction in self.producer.log]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    return Rig()


async def test_rows_and_receipts_that_wait_go_in_one_transaction(rig: Rig) -> None:
    await rig.committer.open()
    rig.put("a", b"1", b"receipt")
    rig.put("b", b"2")
    await until_async(lambda: rig.committed)
    assert rig.values() == [[b"1", b"2", b"receipt"]]
    assert rig.committed == [("a", 1), ("b", 2)]
    await rig.committer.close(1)


async def test_a_newer_row_of_an_address_replaces_the_one_that_waits(rig: Rig) -> None:
    await rig.committer.open()
    rig.put("a", b"1")
    rig.put("a", b"2")
    await rig.committer.commit()
    assert rig.values() == [[b"2"]]
    await rig.committer.close(1)


@pytest.mark.long
async def test_at_most_four_transactions_a_second_are_committed_by_themselves(rig: Rig) -> None:
    await rig.committer.open()
    loop = asyncio.get_running_loop()
    began = loop.time()
    number = 0
    while loop.time() - began < 1.0:
        rig.put(f"a{number}")
        number += 1
        await asyncio.sleep(0.01)
    assert len(rig.producer.log) <= 5
    await rig.committer.close(1)
    assert sum(map(len, rig.producer.log)) == number


async def test_a_commit_at_once_takes_along_what_waits(rig: Rig) -> None:
    await rig.committer.open()
    rig.put("a", b"1")
    await until_async(lambda: rig.committed)
    rig.put("b", b"2")
    began = asyncio.get_running_loop().time()
    await rig.committer.commit()
    assert asyncio.get_running_loop().time() - began < module.COMMIT_INTERVAL_SECONDS
    assert rig.values() == [[b"1"], [b"2"]]
    await rig.committer.close(1)


async def test_rows_of_an_aborted_transaction_go_into_the_next(rig: Rig) -> None:
    rig.producer.failures.append(KafkaError(KafkaError.NOT_ENOUGH_REPLICAS, "abort", False, False, True))
    await rig.committer.open()
    rig.put("a", b"1", b"receipt")
    await rig.committer.commit()
    assert rig.producer.aborted == 1
    assert rig.values() == [[b"1", b"receipt"]]
    await rig.committer.close(1)


async def test_a_newer_row_wins_over_one_of_an_aborted_transaction(rig: Rig) -> None:
    rig.producer.failures.append(KafkaError(KafkaError.NOT_ENOUGH_REPLICAS, "abort", False, False, True))
    await rig.committer.open()
    rig.put("a", b"1")
    await until_async(lambda: rig.producer.aborted)
    rig.put("a", b"2")
    await rig.committer.commit()
    assert rig.values()[-1] == [b"2"] or rig.values() == [[b"1"], [b"2"]]
    await rig.committer.close(1)


async def test_a_commit_whose_answer_is_missing_is_repeated(rig: Rig) -> None:
    rig.producer.failures.append(KafkaError(KafkaError._TIMED_OUT, "no answer", False, True, False))
    await rig.committer.open()
    rig.put("a", b"1")
    await rig.committer.commit()
    assert rig.values() == [[b"1"]]
    assert rig.producer.aborted == 0
    await rig.committer.close(1)


@pytest.mark.parametrize("code", [KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH])
async def test_a_fenced_sender_drops_its_rows_and_records_nothing_more(rig: Rig, code: int) -> None:
    rig.producer.failures.append(KafkaError(code, "fenced", True, False, False))
    await rig.committer.open()
    rig.put("a")
    with pytest.raises(SenderFencedError):
        await rig.committer.commit()
    await until_async(lambda: rig.lost == 1)
    with pytest.raises(SenderFencedError):
        rig.put("b")
    await rig.committer.close(1)
    assert rig.producer.log == []


async def test_closing_commits_what_waits(rig: Rig) -> None:
    await rig.committer.open()
    rig.put("a", b"1")
    await rig.committer.close(1)
    assert rig.values() == [[b"1"]]


async def test_a_row_or_receipt_that_the_producer_refuses_for_its_size_holds_up_no_other(rig: Rig) -> None:
    rig.producer.max_bytes = 10
    await rig.committer.open()
    rig.put("a", b"1", b"receipt")
    rig.put("b", b"2" * 11, b"its receipt"[:10])
    rig.put("c", b"3", b"r" * 11)
    await rig.committer.commit()
    assert rig.values() == [[b"1", b"3", b"receipt", b"its receip"]]
    assert rig.too_large == [(b"2" * 11, "b"), (b"r" * 11, None)]
    assert [key for key, _ in rig.committed] == ["a", "c"]
    await rig.committer.close(1)


async def test_the_largest_of_the_records_that_the_broker_refuses_together_is_dropped(rig: Rig) -> None:
    rig.producer.max_batch_bytes = 10
    await rig.committer.open()
    rig.put("a", b"1")
    rig.put("b", b"2" * 10)
    await rig.committer.commit()
    assert rig.values() == [[b"1"]]
    assert rig.too_large == [(b"2" * 10, "b")]
    assert rig.producer.aborted == 1
    await rig.committer.close(1)


async def test_a_thread_that_hangs_in_a_transaction_is_not_alive_and_an_idle_one_is(rig: Rig) -> None:  # R41
    await rig.committer.open()
    rig.producer.thawed.clear()
    rig.put("a")
    await until_async(rig.producer.committing.is_set)
    rig.now += 31.0
    assert rig.health.liveness() == (False, ["committer: no sign of life for 31 s"])
    rig.producer.thawed.set()
    await until_async(lambda: rig.committed)
    rig.now += 3600.0
    assert rig.health.liveness() == (True, [])
    await rig.committer.close(1)
