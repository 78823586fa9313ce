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
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import aiohttp
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
    until(lambda: _is_at_rest(stack), seconds=180, what="a system at rest", every=0.5)
    return [*door, *_storm_and_others(stack, url, secret, "the whole system")]


def _storm_and_others(stack: Stack, url: str, secret: str, where: str, *, target: float | None = None) -> list[Figure]:
    alone = _others(stack, f"alone-{len(where)}")
    before = _recorded(stack)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        storm = pool.submit(send_storm, url, secret, where, int(RATE * SECONDS), RATE)
        beside = _others(stack, f"beside-{len(where)}")
        found = storm.result()
    sent = int(RATE * SECONDS)
    how = f"{RATE:,.0f} webhooks a second for {SECONDS:.0f} s, one event each, the client on the same machine"
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
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(api, connector=connector) as session:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        under_way = []
        for number, name in enumerate(ids):
            if (wait := begin + number / rate - loop.time()) > 0:
                await asyncio.sleep(wait)
            under_way.append(asyncio.create_task(_webhook(session, key, name)))
        times = await asyncio.gather(*under_way)
        return Storm(accepted=len(ids), sent_again=sum(each > 1 for each in times), seconds=loop.time() - begin)


async def _webhook(session: aiohttp.ClientSession, key: bytes, name: str) -> int:
    """How often it was sent until it was answered 200."""
    body = json.dumps({"type": "opt_out", "address": f"{name}@example.com"}).encode()
    times = 0
    while True:
        times += 1
        sent = str(int(time.time()))
        digest = hmac.digest(key, f"{name}.{sent}.".encode() + body, hashlib.sha256)
        headers = {
            "webhook-id": name,
            "webhook-timestamp": sent,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
        async with session.post(_PATH, data=body, headers=headers) as answer:
            await answer.read()
            if answer.status == 200:
                return times
            if answer.status != 503:
                raise RuntimeError(f"HTTP {answer.status}")
        await asyncio.sleep(1.0)
