"""A feed that waits on purpose does not look as if it hung, however long; one that hangs does. In virtual time."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from consent_runtime.progress import STALLED_SECONDS
from consent_runtime.transport.contract import Ownership, Stream
from consent_runtime.transport.membership import Lease, Membership
from consent_runtime.transport.session import Session
from propagator.connector import Accepted, Outcome, Push
from propagator.errors import DestinationDown, Misconfigured, Throttled
from propagator.feed import Feed
from propagator.station import WATCH_SECONDS
from tests.unit.propagator.harness import TOPIC, Durable, Provider, Worker, decision, destination, virtually

BOUND = STALLED_SECONDS + 15.0  # As the composition root has it.


class Watched:
    """A feed under the transport's own session, looked at as often as in a process."""

    def __init__(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        self.worker = worker
        self.session = Session(
            Stream(name="s", group="g", topics=(TOPIC,), open=self._open),
            TOPIC,
            0,
            lease=Lease(generation=1, member_id="m"),
            membership=Membership(session_timeout=6.0),
            max_outstanding=5_000,
            patience=1.0,
            stalled_after=BOUND,
            failed=worker.bugs.append,
            changed=lambda: None,
            clock=loop.time,
        )
        self.stalled_at: float | None = None
        self._looking = asyncio.create_task(self._look())
        self.worker.dispatcher.start()
        self.session.start()

    async def hand_over(self) -> None:
        """Everything in the log, in two chunks."""
        await asyncio.sleep(1)
        records = self.worker.durable.records
        half = len(records) // 2
        for part in (records[:half], records[half:]):
            if part:
                chunk = self.session.deliver(part, part[-1].offset + 1)
                assert chunk is not None
                self.session.enqueue(chunk)

    @property
    def done(self) -> bool:
        return self.session.tracker.outstanding == 0

    async def close(self) -> None:
        self._looking.cancel()
        await self.session.close()
        assert not self.worker.bugs

    async def _open(self, _topic: str, _partition: int, _ownership: Ownership) -> Feed:
        await self.worker.feed.recover()
        return self.worker.feed

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.session.passed(self.session.tracker.safe or 0)
            self.worker.feed.watch()
            if self.session.stalled and self.stalled_at is None:
                self.stalled_at = loop.time()
            await asyncio.sleep(WATCH_SECONDS)


async def down(_pushes: Sequence[Push], _provider: Provider) -> None:
    raise DestinationDown("http_503")


async def silent(_pushes: Sequence[Push], _provider: Provider) -> None:
    await asyncio.sleep(15)
    raise DestinationDown("timeout")


async def throttling(_pushes: Sequence[Push], _provider: Provider) -> None:
    raise Throttled("http_429", retry_after=900)


async def refusing(_pushes: Sequence[Push], _provider: Provider) -> None:
    raise Misconfigured("the key was revoked")


async def odd(pushes: Sequence[Push], _provider: Provider) -> None:
    if pushes[0].address.endswith("00"):
        raise DestinationDown("http_500")


@pytest.mark.parametrize("trouble", [down, silent, throttling, refusing, odd])
@pytest.mark.parametrize("entries", [1, 90])
def test_trouble_with_the_tool_is_waited_out(trouble: Any, entries: int) -> None:  # R41
    async def story() -> None:
        durable, provider = Durable(), Provider(behave=trouble)
        watched = Watched(Worker(durable, provider))
        for number in range(entries):
            durable.decide(number, decision(f"d{number}", "given" if number % 2 else "withdrawn"))
        await watched.hand_over()
        await asyncio.sleep(600)
        assert watched.stalled_at is None
        provider.behave = None
        await asyncio.sleep(1_000)
        assert watched.done
        assert watched.stalled_at is None
        await watched.close()

    virtually(story())


def test_a_tool_that_takes_one_call_in_a_minute_and_a_half_is_waited_for() -> None:  # R41
    async def story() -> None:
        durable = Durable()
        watched = Watched(Worker(durable, Provider(), destination(batch=1, per_second=1 / 90, burst=1)))
        for number in range(20):
            durable.decide(number, decision(f"d{number}"))
        await watched.hand_over()
        await asyncio.sleep(90 * 21)
        assert watched.done
        assert watched.stalled_at is None
        await watched.close()

    virtually(story())


def test_a_tool_that_is_not_verified_is_waited_for() -> None:  # R41
    async def story() -> None:
        durable = Durable()
        watched = Watched(Worker(durable, Provider(verify_errors=[DestinationDown("http_503")] * 200)))
        durable.decide(1, decision("d1"))
        await watched.hand_over()
        await asyncio.sleep(3_600)
        assert watched.stalled_at is None
        await watched.close()

    virtually(story())


def test_a_call_that_never_ends_shows_and_its_end_too() -> None:  # R41
    async def story() -> None:
        released = asyncio.Event()

        async def hang(pushes: Sequence[Push], _provider: Provider) -> Sequence[Outcome] | None:
            await released.wait()
            return [Accepted(reference="r", effective=True) for _ in pushes]

        durable = Durable()
        watched = Watched(Worker(durable, Provider(behave=hang)))
        durable.decide(1, decision("d1"))
        await watched.hand_over()
        await asyncio.sleep(BOUND - 1)
        assert watched.session.stalled is None
        await asyncio.sleep(3)
        assert watched.session.stalled == f"{TOPIC}:0: 1 records unacknowledged, no progress for 77 s"
        released.set()
        await asyncio.sleep(1)
        assert watched.done
        assert watched.session.stalled is None
        await watched.close()

    virtually(story())


def test_a_receipt_that_is_never_acknowledged_shows(monkeypatch: pytest.MonkeyPatch) -> None:  # R41
    async def story() -> None:
        async def never(*_: Any) -> None:
            await asyncio.Event().wait()

        durable = Durable()
        monkeypatch.setattr(durable, "send", never)
        watched = Watched(Worker(durable, Provider()))
        durable.decide(1, decision("d1"))
        await watched.hand_over()
        await asyncio.sleep(BOUND + 5)
        assert watched.session.stalled
        with suppress(asyncio.CancelledError):
            await watched.close()

    virtually(story())


def test_a_permission_waits_for_the_reader_ahead_unless_that_one_hangs() -> None:  # R41
    async def story() -> None:
        durable = Durable()
        worker = Worker(durable, Provider())
        assert worker.ahead is not None
        worker.ahead.reading = False
        watched = Watched(worker)
        durable.decide(1, decision("d1", "given"))
        await watched.hand_over()
        await asyncio.sleep(BOUND + 5)
        assert watched.session.stalled
        worker.ahead.reading = True
        await asyncio.sleep(2)
        assert watched.done
        assert watched.session.stalled is None
        await watched.close()

    virtually(story())
