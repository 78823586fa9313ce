"""The process: it reads real processes, pushes what changes, notices who is silent, and ends in order. # R39 R41"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.status_page.conftest import Keys
from tests.integration.status_page.running import TOPICS, Measured, StatusProcess, running


@pytest.fixture
def measured() -> Iterator[Measured]:
    made = Measured.start()
    yield made
    for name in list(made.servers):
        made.stop(name)


@pytest.fixture
def status(measured: Measured, keys: Keys) -> Iterator[StatusProcess]:
    with running(keys.file, measured.targets) as made:
        yield made


class Stream:
    """What is pushed to a browser."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def next(self) -> str:
        """The figures that are pushed next, as HTML."""
        lines: list[str] = []
        for line in self._lines:
            if line.startswith("data: "):
                lines.append(line.removeprefix("data: "))
            elif not line and lines:
                return "\n".join(lines)
        raise StopIteration

    def read_to_end(self) -> None:
        for _ in self._lines:
            pass

    def until(self, *texts: str) -> str:
        """The first figures that hold all of these."""
        deadline = time.monotonic() + 60
        while True:
            html = self.next()
            if all(text in html for text in texts):
                return html
            assert time.monotonic() < deadline, texts


@pytest.fixture
def stream(status: StatusProcess, keys: Keys) -> Iterator[Stream]:
    headers = {"Authorization": f"Bearer {keys.token}"}
    with httpx.stream("GET", f"{status.url}/status/events", headers=headers, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield Stream(answer)


def test_what_processes_count_is_pushed(stream: Stream, measured: Measured) -> None:
    stream.until("Every choice gets through")
    for _ in range(40):
        measured.relay.published.labels(TOPICS.changes, "published").inc()
    html = stream.until("3. Outbox relay")
    while True:
        of_relay = html.partition("3. Outbox relay")[2].partition("4. Changes topic")[0]
        if "<strong>0.0/s</strong>" not in of_relay.partition("</span>")[0]:
            break
        html = stream.next()
    measured.propagator.breaker_open.labels("twilio-fr").set(1)
    stream.until("twilio-fr counts as down: its changes wait", "</time> <span>twilio-fr counts as down</span>")
    measured.propagator.breaker_open.labels("twilio-fr").set(0)
    stream.until("</time> <span>twilio-fr answers again</span>", "Every choice gets through")


def test_a_process_that_ends_is_silent_until_it_is_back(stream: Stream, measured: Measured) -> None:
    stream.until("Every choice gets through")
    measured.stop("propagator")
    html = stream.until("propagator gives no answer")
    of_tool = html.partition("The tools")[2]
    assert "no answer since" in of_tool
    assert "answers</span>" not in of_tool.partition("</h3>")[0]
    measured.serve("propagator")
    stream.until("propagator answers again", "Every choice gets through")


def test_a_revoked_key_ends_its_streams(stream: Stream, keys: Keys) -> None:
    stream.next()
    keys.write(keys.explaining_key)
    stream.read_to_end()


def test_a_signal_ends_streams_and_process(stream: Stream, status: StatusProcess) -> None:
    stream.next()
    status.process.send_signal(signal.SIGTERM)
    stream.read_to_end()
    assert status.process.wait(timeout=30) == 0


def test_it_counts_what_it_reads(status: StatusProcess) -> None:
    page = httpx.get(f"{status.metrics}/metrics").text
    assert 'consent_relay_status_scrapes_total{outcome="done",process="relay"}' in page
    assert "consent_relay_status_turn_seconds_count" in page
