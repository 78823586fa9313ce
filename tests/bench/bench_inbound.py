"""A storm of webhooks beside people who choose by another way in: nothing is lost, and how much longer they wait.

As docs/inbound-webhooks.md says of many webhooks, these have an instance of the API of their own, with a tenth of the
other's weight on the processor. Measured twice: at the API alone, with the relay at rest and so all that follows it,
which elsewhere has machines of its own; and with the whole system on this machine.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import multiprocessing
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import psycopg

from local_stack.scrape import scrape
from local_stack.stack import Stack
from tests.bench.figures import Figure, Servers
from tests.bench.load import Place, Sent, revoke
from tests.bench.system import OWN_WEBHOOK, system
from tests.support.waiting import until

RATE, SECONDS = 1_000.0, 10.0
OTHERS = 20.0
"""Withdrawals by another way in, a second."""
SLOWED_AT_MOST = 1.5
_NICE = 10
"""The kernel gives such a process a tenth of what one at 0 gets, where both need the processor."""
_SOURCE = "storm"
_PATH = f"/v1/inbound/{_SOURCE}"
_CONNECTIONS = 256


class _Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Storm(NamedTuple):
    """How many webhooks were answered 200, how many of them only once they were sent again, and after how long the last
    one was."""

    accepted: int
    sent_again: int
    seconds: float


def measure(servers: Servers) -> list[Figure]:
    """People choose alone, then beside the storm; a webhook that is asked for again is sent again, as tools do."""
    with tempfile.TemporaryDirectory(prefix="consent-relay-inbound-") as directory:
        secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        (Path(directory) / "secret").write_text(secret)
        sources = Path(directory) / "inbound.yaml"
        entry = {"id": _SOURCE, "provider": "generic", "tenant": "acme", "channel": "email"}
        sources.write_text(json.dumps({"sources": [{**entry, "secrets": [{"file": "secret"}]}]}))
        environ = {"CONSENT_RELAY_INBOUND_FILE": str(sources)}
        with system(servers, OWN_WEBHOOK, environ=environ) as stack:
            return _figures(stack, secret)


def _figures(stack: Stack, secret: str) -> list[Figure]:
    name = stack.add_worker("api")
    psutil.Process(stack.supervisor.child(name).pid).nice(_NICE)
    url = stack.added_url(name)
    _others(stack, "before", seconds=2.0)  # Connections and caches.
    stack.pause("relay")
    try:
        door = _storm_and_others(stack, url, secret, "the API alone", target=SLOWED_AT_MOST)
    finally:
        stack.resume("relay")
    _settle(stack)
    return [*door, *_storm_and_others(stack, url, secret, "the whole system", settle=_settle)]


def _storm_and_others(
    stack: Stack,
    url: str,
    secret: str,
    where: str,
    *,
    target: float | None = None,
    settle: Callable[[Stack], None] = lambda _: None,
) -> list[Figure]:
    alone = _others(stack, f"alone-{len(where)}")
    before = _recorded(stack)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        storm = pool.submit(send_storm, url, secret, where, int(RATE * SECONDS), RATE)
        beside = _others(stack, f"beside-{len(where)}")
        found = storm.result()
    settle(stack)
    alone = mean([alone, _others(stack, f"after-{len(where)}")])
    sent = int(RATE * SECONDS)
    how = f"{RATE:,.0f} webhooks a second for {SECONDS:.0f} s, one event each, from one client; alone: before and after"
    recorded = (_recorded(stack) - before) / sent
    return [
        Figure(name=f"storm, {where}: webhooks recorded", value=recorded, unit="of all", target=1.0, how=how),
        Figure(name=f"storm, {where}: sent again after a 503", value=found.sent_again / sent, unit="of all"),
        Figure(name=f"storm, {where}: until all are recorded", value=found.seconds, unit="s"),
        Figure(name=f"another way in, {where}, alone: p50", value=alone, unit="ms"),
        Figure(name=f"another way in, {where}, beside the storm: p50", value=beside, unit="ms"),
        Figure(
            name=f"another way in, {where}: beside the storm to alone, p50",
            value=beside / alone,
            unit="times",
            target=target,
            at_most=True,
            how=f"{OTHERS:.0f} withdrawals a second by POST /v1/decisions, from the request to its answer",
        ),
    ]


def _recorded(stack: Stack) -> int:
    return _count(stack, "SELECT count(*) FROM decisions WHERE source_system = %s", f"inbound-{_SOURCE}")


def _settle(stack: Stack) -> None:
    until(lambda: _is_at_rest(stack), seconds=180, what="a system at rest", every=0.5)


def _is_at_rest(stack: Stack) -> bool:
    pushed = scrape(f"{stack.endpoints.metrics['propagator']}/metrics").total("consent_relay_propagation_backlog")
    return pushed == 0 and _count(stack, "SELECT count(*) FROM outbox") == 0


def _count(stack: Stack, query: str, *values: str) -> int:
    with psycopg.connect(stack.endpoints.database.replace("+psycopg", "", 1)) as connection:
        (count,) = connection.execute(query, values).fetchone() or (0,)
    return int(count)


def _others(stack: Stack, name: str, seconds: float = SECONDS) -> float:
    """The median time of an answer, in ms."""
    people = [Place("email", f"{name}-{number}@example.com") for number in range(int(OTHERS * seconds))]
    sent = revoke(stack.endpoints.api, stack.endpoints.api_key, people, rate=OTHERS)
    return median(map(_milliseconds, sent))


def _milliseconds(sent: Sent) -> float:
    return (sent.answered_at - sent.sent_at) / 1_000


def send_storm(api: str, secret: str, name: str, count: int, rate: float) -> Storm:
    """In a process of its own. `name`: addresses and ids of webhooks are those of no other storm."""
    ids = [f"{name.replace(' ', '-')}-{number}" for number in range(count)]
    return asyncio.run(_storm(api, base64.b64decode(secret.removeprefix("whsec_")), ids, rate))


async def _storm(api: str, key: bytes, ids: Sequence[str], rate: float) -> Storm:
    """Each connection has one webhook under way. What they send was signed before: on this machine the client's own
    work must not be what others wait for."""
    host, port = _host_and_port(api)
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(_CONNECTIONS):
        free.put_nowait(_Connection(*await asyncio.open_connection(host, port)))
    requests = [_request(f"{host}:{port}", key, name) for name in ids]
    loop = asyncio.get_running_loop()
    begin = loop.time()
    under_way = []
    for number, request in enumerate(requests):
        if (wait := begin + number / rate - loop.time()) > 0:
            await asyncio.sleep(wait)
        under_way.append(asyncio.create_task(_webhook(free, request)))
    times = await asyncio.gather(*under_way)
    seconds = loop.time() - begin
    while not free.empty():
        free.get_nowait().writer.close()
    return Storm(accepted=len(ids), sent_again=sum(each > 1 for each in times), seconds=seconds)


def _host_and_port(api: str) -> tuple[str, int]:
    parts = urlsplit(api)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"no host and port: {api}")
    return parts.hostname, parts.port


def _request(host: str, key: bytes, name: str) -> bytes:
    """HTTP/1.1, signed as docs/inbound-webhooks.md says."""
    body = json.dumps({"type": "opt_out", "address": f"{name}@example.com"}).encode()
    sent = str(int(time.time()))
    digest = hmac.digest(key, f"{name}.{sent}.".encode() + body, hashlib.sha256)
    head = (
        f"POST {_PATH} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\nwebhook-id: {name}\r\n"
        f"webhook-timestamp: {sent}\r\nwebhook-signature: v1,{base64.b64encode(digest).decode()}\r\n\r\n"
    )
    return head.encode() + body


async def _webhook(free: asyncio.Queue[_Connection], request: bytes) -> int:
    """How often it was sent until it was answered 200."""
    times = 0
    while True:
        times += 1
        connection = await free.get()
        status = await _send(connection, request)
        free.put_nowait(connection)
        if status == 200:
            return times
        if status != 503:
            raise RuntimeError(f"HTTP {status}")
        await asyncio.sleep(1.0)


async def _send(connection: _Connection, request: bytes) -> int:
    connection.writer.write(request)
    head = await connection.reader.readuntil(b"\r\n\r\n")
    status, _, fields = head.partition(b"\r\n")
    length = next(field for field in fields.lower().split(b"\r\n") if field.startswith(b"content-length:"))
    await connection.reader.readexactly(int(length.partition(b":")[2]))
    return int(status.split()[1])
