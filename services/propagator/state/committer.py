"""Rows and receipts, committed together: one transaction over all partitions, four a second at most, or at once.

The transactional id is the propagator's name, so that opening a committer fences every earlier one. A record that the
broker refuses for its size goes alone: it is dropped and reported, and all others are committed. Everything that waits
is on the event loop; the client's blocking calls run in one thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consent_kafka.clients import unauthorized
from propagator.errors import SenderFencedError
from propagator.state.overlay import UndurableRow

log = logging.getLogger(__name__)

COMMIT_INTERVAL_SECONDS = 0.25
RETRY_SECONDS = 0.25
TRANSACTION_SECONDS = 10.0
_ANY_PARTITION = -1
_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.RECORD_LIST_TOO_LARGE)


class OutgoingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a transaction. `partition` -1: that of the key."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int = _ANY_PARTITION
    receipt: tuple[str, str] | None = None
    """Destination and stage of a receipt."""


@dataclass(kw_only=True, slots=True)
class _Waiting:
    """What the next transaction holds. A newer row of an address replaces the one that waits."""

    rows: dict[tuple[str, str], tuple[UndurableRow, OutgoingRecord]] = field(default_factory=dict)
    others: list[OutgoingRecord] = field(default_factory=list)
    committed: list[asyncio.Future[None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.others or self.committed)


class Committer:
    """From `open` to `close` or until it is fenced. Used on one event loop."""

    def __init__(
        self,
        make_producer: Callable[[], Producer],
        *,
        on_committed: Callable[[UndurableRow, int], None],
        on_too_large: Callable[[OutgoingRecord, UndurableRow | None], None],
        on_lost: Callable[[], None],
        on_transaction: Callable[[Sequence[OutgoingRecord]], None] = lambda _records: None,
        beat: Callable[[], None] = lambda: None,
        at_rest: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_committed` gets each row and its offset. `on_too_large` gets a record that the broker refuses for its
        size, which is dropped, and the row that it holds. `on_lost` is called when another process has taken over, or
        the producer cannot go on: rows that were not committed are dropped. `on_transaction` gets the records beside
        the rows. `beat` is called before each wait for the broker, of TRANSACTION_SECONDS at most, and `at_rest` once
        the thread has nothing to do."""
        self._make_producer = make_producer
        self._on_committed = on_committed
        self._on_too_large = on_too_large
        self._on_lost = on_lost
        self._on_transaction = on_transaction
        self._beat = beat
        self._at_rest = at_rest
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="committer")
        self._producer: Any = None
        self._too_large: list[OutgoingRecord] = []
        """Refused in the last transaction."""
        self._waiting = _Waiting()
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Fence every earlier producer of this name. Raises KafkaException, retriable when its error is;
        LinkRefusedError where the transactional id is not ours to use."""
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._executor.shutdown(wait=False)
            raise
        self._task = asyncio.create_task(self._run(), name="committer")

    def put(self, row: UndurableRow, record: OutgoingRecord, others: Sequence[OutgoingRecord] = ()) -> None:
        """Commit an address's row, and receipts with it, within 250 ms. Raises SenderFencedError."""
        self._require()
        self._waiting.rows[row.destination, row.address_key] = (row, record)
        self._waiting.others.extend(others)
        self._wake.set()

    def put_others(self, records: Sequence[OutgoingRecord]) -> None:
        """Commit records that are no rows of an address. Raises SenderFencedError."""
        self._require()
        self._waiting.others.extend(records)
        self._wake.set()

    async def commit(self) -> None:
        """Commit at once, with all that waits. Returns once that is done; raises SenderFencedError."""
        self._require()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.committed.append(done)
        self._wake.set()
        self._urgent.set()
        await done

    async def close(self, seconds: float) -> None:
        """Commit what waits, if that is possible within `seconds`; then let go of the producer."""
        if not self._lost and self._task is not None and (self._waiting or not self._task.done()):
            try:
                await asyncio.wait_for(self.commit(), seconds)
            except (TimeoutError, SenderFencedError):
                log.warning("what waited was not committed")
        self._lose()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._executor.shutdown(wait=False)

    def _require(self) -> None:
        if self._lost:
            raise SenderFencedError("this process is not the active sender any more")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time() - COMMIT_INTERVAL_SECONDS
        while not self._lost:
            await self._wake.wait()
            await self._until_due(last + COMMIT_INTERVAL_SECONDS - loop.time())
            self._wake.clear()
            self._urgent.clear()
            batch, self._waiting = self._waiting, _Waiting()
            last = loop.time()
            try:
                offsets = await self._in_thread(self._commit, batch)
            except KafkaException as error:
                log.warning("rows and receipts not committed yet", extra={"error": str(error)})
                dropped = self._drop_too_large(batch)
                self._put_back(batch)
                if not dropped:
                    await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:
                log.error(
                    "this process may record nothing more",
                    extra={"error": str(error)},
                    exc_info=not isinstance(error, SenderFencedError),
                )
                self._drop_too_large(batch)  # The client cannot always abort after a refusal.
                self._waiting.committed.extend(batch.committed)
                self._lose()
                self._on_lost()
                return
            else:
                if batch.rows or batch.others:
                    self._on_transaction(batch.others)
                for (row, _), offset in zip(batch.rows.values(), offsets, strict=True):
                    self._on_committed(row, offset)
                for done in batch.committed:
                    if not done.done():
                        done.set_result(None)

    async def _until_due(self, seconds: float) -> None:
        if seconds > 0 and not self._urgent.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), seconds)

    def _drop_too_large(self, batch: _Waiting) -> bool:
        """Whether a record was dropped. Only the largest: the broker refuses it together with others of its batch."""
        if not self._too_large:
            return False
        refused = max(self._too_large, key=lambda each: len(each.value or b""))
        row = next((row for row, record in batch.rows.values() if record is refused), None)
        if row is None:
            batch.others = [each for each in batch.others if each is not refused]
        else:
            del batch.rows[row.destination, row.address_key]
        self._on_too_large(refused, row)
        return True

    def _put_back(self, batch: _Waiting) -> None:
        newer = self._waiting
        self._waiting = _Waiting(
            rows={**batch.rows, **newer.rows},
            others=batch.others + newer.others,
            committed=batch.committed + newer.committed,
        )
        self._wake.set()
        if self._waiting.committed:
            self._urgent.set()

    def _lose(self) -> None:
        self._lost = True
        dropped, self._waiting = self._waiting, _Waiting()
        for done in dropped.committed:
            if not done.done():
                done.set_exception(SenderFencedError("another process is the active sender"))

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._beat()  # Already here: a thread that hangs never begins.
        work = self._executor.submit(self._work, function, *arguments)
        try:
            return await asyncio.wrap_future(work)
        finally:
            if work.cancelled():
                self._at_rest()

    # In the thread.

    def _work(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        finally:
            self._at_rest()

    def _open(self) -> None:
        producer: Any = self._make_producer()
        try:
            producer.init_transactions(TRANSACTION_SECONDS)
        except KafkaException as error:
            raise unauthorized(error.args[0], "the writer of delivered state") or error from None
        self._producer = producer

    def _commit(self, batch: _Waiting) -> list[int]:
        """The offsets of the rows. Raises KafkaException when the transaction was aborted and can be repeated, and
        SenderFencedError when this producer is of no use any more."""
        rows: list[int] = [-1] * len(batch.rows)
        if not batch.rows and not batch.others:
            return rows
        producer = self._producer
        self._too_large = []
        try:
            producer.begin_transaction()
            for number, (_, record) in enumerate(batch.rows.values()):
                self._produce(record, partial(self._delivered, record, rows, number))
            for record in batch.others:
                self._produce(record, partial(self._delivered, record, None, 0))
            self._beat()
            producer.flush(TRANSACTION_SECONDS)
            self._commit_transaction()
            producer.poll(0)  # For delivery reports that came after the flush.
        except KafkaException as error:
            self._abort(error)
            raise
        return rows

    def _produce(self, record: OutgoingRecord, on_delivery: Callable[[Any, Message], None]) -> None:
        arguments: Mapping[str, Any] = {
            "topic": record.topic,
            "key": record.key,
            "value": record.value,
            "headers": list(record.headers),
            "partition": record.partition,
            "on_delivery": on_delivery,
        }
        while True:
            try:
                self._producer.produce(**arguments)
            except BufferError:
                self._beat()
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() in _TOO_LARGE:
                    self._too_large.append(record)
                raise
            else:
                return

    def _commit_transaction(self) -> None:
        """A time-out is repeated: whether the transaction is committed is not known before the broker answers."""
        while True:
            self._beat()
            try:
                return self._producer.commit_transaction(TRANSACTION_SECONDS)  # type: ignore[no-any-return]
            except KafkaException as error:
                if self._lost or not error.args[0].retriable():
                    raise

    def _abort(self, error: KafkaException) -> None:
        fault: KafkaError = error.args[0]
        if fault.code() in _FENCED:
            raise SenderFencedError("another process is the active sender: the transaction was fenced") from error
        if fault.fatal() or not (fault.txn_requires_abort() or fault.retriable() or self._too_large):
            raise SenderFencedError(f"the producer cannot go on: {fault.name()}") from error
        self._beat()
        try:
            self._producer.abort_transaction(TRANSACTION_SECONDS)
        except KafkaException as failed:
            raise SenderFencedError(f"a transaction could not be aborted: {failed.args[0].name()}") from failed

    def _delivered(
        self, record: OutgoingRecord, offsets: list[int] | None, number: int, error: Any, message: Message
    ) -> None:
        if error is not None:
            if error.code() in _TOO_LARGE:
                self._too_large.append(record)
        elif offsets is not None and (offset := message.offset()) is not None:
            offsets[number] = offset
