"""A hung loop is not ready, an idle one is, and the page that says so answers in either case (R39, R41)."""

import asyncio
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version

import pytest
from prometheus_client import CollectorRegistry, Counter

from consent_service import health as health_module
from consent_service.health import Health, Server, serve_metrics

pytestmark = pytest.mark.long
"""Each starts and stops a real server."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_idle_loop_that_beats_is_ready_and_a_hung_one_is_not() -> None:  # R41
    clock = Clock()
    health = Health(stale_after=10, dead_after=60, clock=clock)
    health.heartbeat("poll")
    clock.now += 9
    assert health.readiness() == (True, [])
    clock.now += 2
    assert health.readiness() == (False, ["poll: no sign of life for 11 s"])
    assert health.liveness() == (True, [])
    clock.now += 60
    assert health.liveness()[0] is False
    health.heartbeat("poll", "a batch of t:0")
    assert health.readiness()[0] is True
    clock.now += 11
    assert health.readiness() == (False, ["poll: no sign of life for 11 s, busy with a batch of t:0"])
    health.heartbeat("poll")
    assert health.readiness()[0] is True


def test_a_part_may_take_longer_for_work_that_it_names(clock: Clock) -> None:  # R41
    health = Health(clock=clock)
    health.heartbeat("bulk", "1000 records", within=90)
    clock.now += 89
    assert health.liveness() == (True, [])
    clock.now += 2
    assert health.liveness() == (False, ["bulk: no sign of life for 91 s, busy with 1000 records"])
    health.heartbeat("bulk")
    clock.now += 31
    assert health.liveness()[0] is False


def test_a_part_at_rest_is_not_missed(clock: Clock) -> None:  # R41
    health = Health(clock=clock)
    health.heartbeat("partition 1")
    health.at_rest("partition 1")
    clock.now += 3_600
    assert health.liveness() == (True, [])
    assert health.readiness() == (True, [])
    health.heartbeat("partition 1")
    clock.now += 31
    assert health.liveness()[0] is False


def test_the_startup_is_over_once_every_part_has_begun(clock: Clock) -> None:  # R41
    health = Health(expected=["list", "loop"], clock=clock)
    assert health.startup() == (False, ["list: not started", "loop: not started"])
    health.set_ready("list", "restoring")
    assert health.startup() == (False, ["loop: not started"])
    health.heartbeat("loop")
    assert health.startup() == (True, [])
    assert health.readiness()[0] is False


def test_an_expected_part_is_not_ready_until_it_says_so() -> None:  # R41
    health = Health(expected=["list"])
    assert health.readiness() == (False, ["list: not started"])
    health.set_ready("list", "catching up")
    assert health.readiness() == (False, ["list: catching up"])
    assert health.liveness() == (True, [])
    health.set_ready("list", False)
    assert health.readiness()[0] is False
    health.set_ready("list")
    assert health.readiness() == (True, [])


def test_a_part_that_ended_as_it_should_is_forgotten() -> None:
    clock = Clock()
    health = Health(clock=clock)
    health.heartbeat("partition 3")
    health.set_ready("partition 3", "recovering")
    health.unregister("partition 3")
    clock.now += 1000
    assert health.readiness() == (True, [])


@pytest.fixture
def health() -> Health:
    return Health(expected=["loop"], stale_after=0.2, dead_after=60)


@pytest.fixture
def server(health: Health) -> Iterator[Server]:
    registry = CollectorRegistry()
    Counter("consent_relay_things", "Things.", registry=registry).inc(exemplar={"trace_id": "t1"})
    server = serve_metrics(registry, health, "127.0.0.1", 0)
    yield server
    server.close()
    serve_metrics(registry, health, "127.0.0.1", 0).close()


def get(server: Server, path: str, accept: str = "") -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_metrics_hold_ours_and_the_process_and_speak_openmetrics_when_asked(server: Server) -> None:  # R39
    status, content_type, text = get(server, "/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    assert "consent_relay_things_total 1.0" in text
    assert "process_resident_memory_bytes" in text
    status, content_type, text = get(server, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert 'trace_id="t1"' in text


def test_pages_say_what_is_wrong(server: Server, health: Health) -> None:  # R41
    assert get(server, "/readyz")[::2] == (503, "loop: not started\n")
    assert get(server, "/healthz")[::2] == (200, "ok\n")
    health.set_ready("loop")
    assert get(server, "/readyz?verbose")[0] == 200
    assert get(server, "/")[0] == 404


async def test_a_hung_event_loop_still_answers_that_it_hangs(server: Server, health: Health) -> None:  # R41
    health.set_ready("loop")
    health.heartbeat("loop")
    answer = asyncio.get_running_loop().run_in_executor(None, wait_for_not_ready, server)
    await asyncio.sleep(0)
    time.sleep(0.6)  # noqa: ASYNC251 - the hang itself
    assert await answer == "loop: no sign of life for 0 s\n"


def wait_for_not_ready(server: Server) -> str:
    asked_until = time.monotonic() + 0.55
    while time.monotonic() < asked_until:
        status, _, text = get(server, "/readyz")
        if status == 503:
            return text
        time.sleep(0.02)
    return "ready all the time"


def test_a_part_that_is_watched_is_asked_each_time() -> None:
    health, states = Health(), iter([True, "the clock is wrong", False])
    health.watch("clock", lambda: next(states))
    assert health.readiness() == (True, [])
    assert health.readiness() == (False, ["clock: the clock is wrong"])
    assert health.readiness() == (False, ["clock: not ready"])


def test_a_client_that_sends_nothing_or_a_little_at_a_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:  # R43
    monkeypatch.setattr(health_module, "CONNECTION_SECONDS", 0.1)
    server = serve_metrics(CollectorRegistry(), Health(), "127.0.0.1", 0)
    try:
        for sent in (b"", b"GET /healthz HTTP/1.0\r\nX: "):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
                client.sendall(sent)
                assert client.recv(1) == b""
    finally:
        server.close()


def test_few_connections_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:  # R43
    monkeypatch.setattr(health_module, "MOST_CONNECTIONS", 1)
    server = serve_metrics(CollectorRegistry(), Health(), "127.0.0.1", 0)
    try:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address, timeout=30), socket.create_connection(address, timeout=30) as second:
            assert second.recv(1) == b""
    finally:
        server.close()


def test_a_note_is_on_the_page_of_a_process_that_is_ready() -> None:  # R41
    health = Health()
    health.set_ready("list")
    health.note("keyring", "lacks a key of one tenant")
    server = serve_metrics(CollectorRegistry(), health, "127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=30) as answer:
            assert (answer.status, answer.read()) == (200, b"ok\nkeyring: lacks a key of one tenant\n")
    finally:
        server.close()
    health.note("keyring", "")
    assert health.notes() == []


@pytest.mark.parametrize(("head", "status"), [(b"X: " + b"a" * 60_000 + b"\r\n", b"200"), (b"X: a\r\n" * 90, b"200")])
def test_a_long_head_is_read_in_part(head: bytes, status: bytes) -> None:  # R43
    server = serve_metrics(CollectorRegistry(), Health(), "127.0.0.1", 0)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n" + head + b"\r\n")
            assert client.recv(12).split()[1] == status
    finally:
        server.close()


def test_the_metrics_name_the_version_that_runs() -> None:
    registry = CollectorRegistry()
    server = serve_metrics(registry, Health(), "127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
            assert f'consent_relay_build_info{{version="{version("consent-relay")}"}} 1.0' in answer.read().decode()
    finally:
        server.close()
