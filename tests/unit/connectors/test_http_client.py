"""When a request is written, and what is checked before."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from consent_service.trace_context import begin, parse
from propagator.connectors import call_traces
from propagator.connectors.http import HttpClient, HttpResponse
from propagator.errors import DestinationDownError, SendNotAllowedError
from tests.support.call_budget import CountedBudget
from tests.support.kept_spans import kept_spans

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.0)
        yield listening


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    made = HttpClient(timeout_seconds=5, connections=1)
    yield made
    await made.close()


def call(
    http: HttpClient,
    listener: socket.socket,
    body: bytes | None,
    guard: Callable[[], bool],
    budget: CountedBudget | None = None,
) -> asyncio.Task[HttpResponse]:
    method = "POST" if body else "DELETE"
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    return asyncio.create_task(
        http.call(method, url, headers={}, body=body, guard=guard, budget=budget or CountedBudget())
    )


@pytest.mark.parametrize("body", [b"{}", None])
async def test_no_turn_of_the_loop_lies_between_the_guard_and_the_writing(
    http: HttpClient, listener: socket.socket, body: bytes | None
) -> None:
    """A process that is frozen in it would send an outdated choice once it goes on."""
    arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def look() -> None:
        server, _ = listener.accept()
        server.settimeout(0.0)
        try:
            arrived.set_result(server.recv(65_536))
            server.sendall(OK)
        except BlockingIOError:
            arrived.set_result(b"")
        finally:
            server.close()

    def guard() -> bool:
        asyncio.get_running_loop().call_soon(look)
        return True

    response = call(http, listener, body, guard)
    sent = await arrived
    assert sent.endswith(b"\r\n\r\n" + (body or b""))
    assert (await response).status == 200


@pytest.mark.parametrize("body", [b"{}", None])
async def test_what_the_guard_refuses_is_not_written(
    http: HttpClient, listener: socket.socket, body: bytes | None
) -> None:
    with pytest.raises(SendNotAllowedError):
        await call(http, listener, body, lambda: False)
    server, _ = listener.accept()
    with server:
        server.settimeout(5)
        assert server.recv(65_536) == b""


async def test_a_repetition_that_is_refused_leaves_open_what_became_of_the_first(
    http: HttpClient, listener: socket.socket
) -> None:
    listener.settimeout(5)
    leave = iter([True, True, False])
    budget = CountedBudget()
    first = call(http, listener, None, lambda: next(leave))
    server, _ = await asyncio.to_thread(listener.accept)
    with server:
        await asyncio.to_thread(server.recv, 65_536)
        server.sendall(OK)
        assert (await first).status == 200
        second = call(http, listener, None, lambda: next(leave), budget)
        await asyncio.to_thread(server.recv, 65_536)
    with pytest.raises(DestinationDownError):  # aiohttp would have sent it again on another connection
        await second
    assert budget.spent == 2, "the repetition is a request of its own"


@pytest.mark.parametrize("body", [b"{}", None])
async def test_a_bug_in_the_guard_comes_out_at_once(
    http: HttpClient, listener: socket.socket, body: bytes | None
) -> None:
    def guard() -> bool:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        async with asyncio.timeout(2):
            await call(http, listener, body, guard)


async def test_a_response_to_no_request_is_not_taken_for_the_next_ones(
    http: HttpClient, listener: socket.socket
) -> None:  # R28: a receipt is "accepted" only for what the tool has accepted
    listener.settimeout(5)
    first = call(http, listener, b"{}", lambda: True)
    server, _ = await asyncio.to_thread(listener.accept)
    with server:
        await asyncio.to_thread(server.recv, 65_536)
        server.sendall(OK)
        assert (await first).status == 200
        server.sendall(OK)
        await asyncio.sleep(0.1)
        with pytest.raises(DestinationDownError):
            await call(http, listener, b"{}", lambda: True)


@pytest.mark.parametrize("carried", [True, False])
async def test_a_request_names_the_trace_of_its_call(http: HttpClient, listener: socket.socket, carried: bool) -> None:
    listener.settimeout(5)
    trace = begin(sampled=True)
    call_traces.set_of_call([trace, begin(sampled=True)] if carried else [])
    with kept_spans() as kept:
        response = call(http, listener, b"{}", lambda: True)
        server, _ = await asyncio.to_thread(listener.accept)
        with server:
            server.settimeout(5)
            sent = await asyncio.to_thread(server.recv, 65_536)
            server.sendall(OK)
            assert (await response).status == 200
    named = [line.partition(b": ")[2] for line in sent.split(b"\r\n") if line.lower().startswith(b"traceparent:")]
    given = [parse(value) for value in named]
    assert given == [each.span for each in kept.spans[:1]]
    assert [each.parent for each in kept.spans[:1]] == ([trace] if carried else [])
    assert len(kept.spans) == (2 if carried else 0)
