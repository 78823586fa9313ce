"""A connection holds little, and ends by itself: slow, endless and huge requests stop no other caller (R43, R45)."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response

from consent_http import http_server, problem_details, request_body
from consent_http.http_server import BoundedProtocol, Server
from tests.support.waiting import until_async

pytestmark = pytest.mark.long
"""Each starts and stops a real server."""

SOON = 30.0
"""Seconds by which what must happen has happened, on any machine."""
GET = b"GET /early HTTP/1.1\r\nHost: x\r\n"

Deadlines = list[Callable[[], None]]


def create() -> FastAPI:
    app = FastAPI()
    problem_details.install(app)

    @app.post("/read")
    async def read(request: Request) -> dict[str, int]:
        return {"bytes": len(await request_body.read(request, limit=1_000_000))}

    @app.api_route("/early", methods=["GET", "POST"])
    async def early() -> dict[str, bool]:
        return {"early": True}

    @app.get("/long")
    async def long() -> Response:
        return Response(b"x" * 50_000_000)

    return app


@pytest.fixture
async def deadlines(monkeypatch: pytest.MonkeyPatch) -> Deadlines:
    """What the server does at each deadline for a request that it has set; the last one is in force."""
    loop, found = asyncio.get_running_loop(), Deadlines()
    call_later = loop.call_later

    def recorded(seconds: float, callback: Callable[..., None], *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        if seconds in (http_server.HEAD_SECONDS, http_server.MESSAGE_SECONDS):
            found.append(callback)
        return call_later(seconds, callback, *arguments, **options)

    monkeypatch.setattr(loop, "call_later", recorded)
    return found


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    config = http_server.config(create(), host="127.0.0.1", port=0, grace_seconds=1)
    server = Server(config, shutdown_delay=3_600, on_stopping=lambda: None)
    serving = asyncio.create_task(server.serve())
    await until_async(lambda: server.started)
    yield server
    server.should_exit = True
    await serving


@pytest.fixture
def port(server: Server) -> int:
    number: int = server.servers[0].sockets[0].getsockname()[1]
    return number


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that is answered until the server ends the connection."""
    answered = b""
    async with asyncio.timeout(SOON):
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65_536):
                answered += part
    return answered


async def exchange(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
    answered = await rest(reader)
    writer.close()
    return answered


def status(answered: bytes) -> int:
    return int(answered.split(b" ", 2)[1])


def connection(server: Server) -> BoundedProtocol:
    (only,) = server.server_state.connections
    assert isinstance(only, BoundedProtocol)
    return only


H2C = (
    b"POST /read HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 22\r\nHost: x\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAAA\r\nUpgrade: h2c\r\nContent-Type: application/json\r\n\r\n"
    b'"\r\nUpgrade: \r\n\r\n12345"'
)
"""What Java's own client sends first, and a body that looks like a head."""


@pytest.mark.parametrize("size", [1, 2, 7, len(H2C)])
async def test_a_request_that_asks_for_another_protocol_is_read_as_it_is(server: Server, port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await until_async(lambda: len(server.server_state.connections) == 1)
    protocol = connection(server)
    for request in (H2C, H2C.replace(b"Upgrade: h2c", b"uPGRADE:websocket")):
        for start in range(0, len(request), size):
            protocol.data_received(request[start : start + size])
        async with asyncio.timeout(SOON):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            assert await reader.readexactly(12) == b'{"bytes":22}'
    writer.close()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", None),
        (b"\r\n\r\n", None),
        (b"GET", 408),
        (GET, 408),
        (GET + b"X: " + b"a" * 100, 408),
    ],
)
async def test_a_head_that_does_not_come_ends_the_connection(
    deadlines: Deadlines, server: Server, port: int, sent: bytes, answer: int | None
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await until_async(lambda: len(server.server_state.connections) == 1)
    connection(server).data_received(sent)
    deadlines[-1]()
    answered = await rest(reader)
    assert (status(answered) if answered else None) == answer
    writer.close()


@pytest.mark.parametrize(
    "sent", [GET + b"\r\n", b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{"]
)
async def test_a_connection_ends_that_rests_or_goes_on_with_a_body_that_no_handler_reads(
    deadlines: Deadlines, server: Server, port: int, sent: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(SOON):
        assert b" 200 " in await reader.readuntil(b"}")
    deadlines[-1]()
    assert await rest(reader) == b""
    writer.close()


async def test_a_request_that_is_being_answered_is_left_alone(deadlines: Deadlines, server: Server, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    writer.write(head)
    await until_async(lambda: len(server.server_state.tasks) == 1)
    deadlines[-1]()
    writer.write(b"{}")
    async with asyncio.timeout(SOON):
        assert b" 200 " in await reader.readuntil(b"}")
    writer.close()


async def test_a_body_that_is_read_has_its_own_deadline(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.1)
    head = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    assert status(await exchange(port, head)) == 408


@pytest.mark.long
async def test_an_answer_that_the_client_does_not_read_ends_the_connection(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "READ_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
    await until_async(lambda: server.server_state.total_requests == 1 and not server.server_state.connections)
    assert len(await rest(reader)) < 50_000_000
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        [GET, b"X: " + b"a" * 20_000 + b"\r\n\r\n"],
        [GET, *[b"X: " + b"a" * 1_000 + b"\r\n"] * 20, b"\r\n"],
        [GET, *[b"X: a\r\n"] * 101, b"\r\n"],
        [GET, *[b"X" * 10_000] * 100],
        [b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n"],
        [b"GET /", *[b"a" * 10_000] * 100],
    ],
)
async def test_a_large_head_is_refused_early(port: int, head: list[bytes]) -> None:
    answered = await exchange(port, *head)
    # The client may still be sending when the connection ends, and then lose the answer.
    assert not answered or status(answered) == 431


@pytest.mark.parametrize(
    "parts",
    [
        [b"1;" + b"x" * 2_000_000 + b"\r\n{\r\n", b"0\r\n\r\n"],
        [b"1\r\n{\r\n0\r\n", *[b"X: " + b"a" * 1_000 + b"\r\n"] * 2_000, b"\r\n"],
    ],
)
async def test_chunks_and_trailers_are_bounded(port: int, parts: list[bytes]) -> None:
    """What comes in one read, a quarter of a megabyte, is taken as it is."""
    head = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    answered = await exchange(port, head, *parts)
    assert b" 200 " not in answered


async def test_what_is_no_http_is_a_problem(port: int) -> None:
    answered = await exchange(port, b"\x16\x03\x01\x02\x00\x01\x00")
    assert status(answered) == 400
    assert b"urn:consent-relay:problem:malformed-request" in answered


async def test_one_connection_queues_few_requests(port: int) -> None:
    assert (await exchange(port, (GET + b"\r\n") * 500)).count(b" 200 ") < 500


async def test_good_requests_share_a_connection(port: int) -> None:
    head = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    body = b"x" * 500_000
    answered = await exchange(
        port,
        head + b"Content-Length: 500000\r\n\r\n" + body,
        head + b"Transfer-Encoding: chunked\r\n\r\n" + b"7a120\r\n" + body + b"\r\n0\r\n\r\n",
        GET + b"Connection: close\r\n\r\n",
    )
    assert answered.count(b" 200 ") == 3
    assert answered.count(b'"bytes":500000') == 2


async def test_a_client_that_opens_many_connections_keeps_no_other_out(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 2)
    (first, one), (second, two) = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    await until_async(lambda: len(server.server_state.connections) == 2)
    assert status(await exchange(port, GET + b"Connection: close\r\n\r\n")) == 200
    assert await rest(first) == b""
    two.write(GET + b"\r\n")
    async with asyncio.timeout(SOON):
        assert b" 200 " in await second.readuntil(b"}")
    one.close()
    two.close()


async def test_requests_under_way_are_not_ended_for_others(
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n")
    await until_async(lambda: len(server.server_state.tasks) == 1)
    assert status(await exchange(port)) == 503
    writer.write(b"{}")
    async with asyncio.timeout(SOON):
        assert b" 200 " in await reader.readuntil(b"}")
    writer.close()


async def test_while_it_ends_it_answers_and_asks_for_other_connections(server: Server, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + b"\r\n")
    assert b"connection: close" not in (await reader.readuntil(b"true}")).lower()
    server.stop(signal.SIGTERM)
    await until_async(lambda: (b"connection", b"close") in server.config.encoded_headers)
    writer.write(GET + b"\r\n")
    answered = await rest(reader)
    assert status(answered) == 200
    assert b"connection: close" in answered.lower()
    writer.close()
    assert status(await exchange(port, GET + b"\r\n")) == 200
    assert not server.should_exit
    server.stop(signal.SIGTERM)
    await until_async(lambda: server.should_exit)


async def test_a_person_at_a_terminal_does_not_wait() -> None:
    announced: list[bool] = []
    config = http_server.config(create(), host="127.0.0.1", port=0, grace_seconds=1)
    server = Server(config, shutdown_delay=3_600, on_stopping=lambda: announced.append(True))
    serving = asyncio.create_task(server.serve())
    await until_async(lambda: server.started)
    server.stop(signal.SIGINT)
    await asyncio.wait_for(serving, SOON)
    assert announced == [True]
