"""Trying again: the pauses, what is reported, and what ends it."""

import asyncio
import random
import threading

import pytest

from consent_service.errors import RetryStoppedError
from consent_service.retry import Backoff, Failure, retry, retry_async

AT_ONCE = Backoff((0.0,))


class Flaky:
    """Fails with these errors, one after the other, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    def __call__(self) -> str:
        if self._errors:
            raise self._errors.pop(0)
        return "done"

    async def later(self) -> str:
        return self()


@pytest.mark.parametrize(("failures", "pause"), [(0, 0.1), (1, 0.1), (2, 0.5), (3, 2.0), (4, 2.0), (10**9, 2.0)])
def test_the_pause_grows_up_to_the_last_one(failures: int, pause: float) -> None:
    assert Backoff((0.1, 0.5, 2.0)).seconds(failures) == pause


@pytest.mark.parametrize(("jitter", "least"), [(0.5, 1.0), (1.0, 0.0)])
def test_jitter_is_the_random_part_of_a_pause(jitter: float, least: float) -> None:
    rng = random.Random(1)
    pauses = [Backoff((2.0,), jitter).seconds(1, rng) for _ in range(500)]
    assert least <= min(pauses) < least + 0.1
    assert 1.9 < max(pauses) <= 2.0


def test_a_failure_is_news_when_it_says_something_else() -> None:
    reported: list[Failure[OSError]] = []
    flaky = Flaky(OSError("unavailable"), OSError("unavailable"), OSError("refused"))
    assert retry(flaky, on=OSError, backoff=AT_ONCE, stop=threading.Event(), report=reported.append) == "done"
    assert [(each.count, each.is_news) for each in reported] == [(1, True), (2, False), (3, True)]


def test_another_error_ends_it() -> None:
    with pytest.raises(KeyError):
        retry(Flaky(KeyError()), on=(OSError,), backoff=AT_ONCE, stop=threading.Event(), report=lambda _: None)


def test_what_the_report_raises_ends_it() -> None:
    def report(failure: Failure[OSError]) -> None:
        raise failure.error

    with pytest.raises(OSError, match="for good"):
        retry(Flaky(OSError("for good")), on=OSError, backoff=AT_ONCE, stop=threading.Event(), report=report)


def test_stop_ends_a_pause_at_once() -> None:
    stop = threading.Event()
    hours = Backoff((36_000.0,))
    with pytest.raises(RetryStoppedError) as stopped:
        retry(Flaky(OSError("unavailable")), on=OSError, backoff=hours, stop=stop, report=lambda _: stop.set())
    assert str(stopped.value.__cause__) == "unavailable"


def test_a_failure_while_stopping_is_not_reported() -> None:
    stop = threading.Event()
    stop.set()
    reported: list[Failure[OSError]] = []
    with pytest.raises(RetryStoppedError):
        retry(Flaky(OSError()), on=OSError, backoff=AT_ONCE, stop=stop, report=reported.append)
    assert reported == []


def test_on_an_event_loop() -> None:
    reported: list[Failure[OSError]] = []
    flaky = Flaky(OSError("unavailable"), OSError("unavailable"))
    assert asyncio.run(retry_async(flaky.later, on=OSError, backoff=AT_ONCE, report=reported.append)) == "done"
    assert [(each.count, each.is_news) for each in reported] == [(1, True), (2, False)]


def test_cancelling_ends_a_pause_on_an_event_loop() -> None:
    async def run() -> None:
        waiting = asyncio.Event()
        work = retry_async(
            Flaky(OSError()).later, on=OSError, backoff=Backoff((36_000.0,)), report=lambda _: waiting.set()
        )
        task = asyncio.create_task(work)
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
