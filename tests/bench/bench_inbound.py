"""The whole system, and a storm of webhooks beside people who choose by another way in: nothing is lost, and how much
longer those people wait."""

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
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import aiohttp
import psycopg

from local_stack.stack import Stack
from tests.bench.figures import Figure, Servers
from tests.bench.load import Place, Sent, revoke
from tests.bench.system import OWN_WEBHOOK, system

RATE, SECONDS = 1_000.0, 10.0
OTHERS = 20.0
"""Withdrawals by another way in, a second."""
SLOWED_AT_MOST = 1.5
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
    endpoints = stack.endpoints
    _others(stack, "before", seconds=2.0)  # Connections and caches.
    alone = _others(stack, "alone")
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        storm = pool.submit(send_storm, endpoints.api, secret, int(RATE * SECONDS), RATE)
        beside = _others(stack, "beside")
        found = storm.result()
    with psycopg.connect(endpoints.database.replace("+psycopg", "", 1)) as connection:
        query = "SELECT count(*) FROM decisions WHERE source_system = %s"
        (recorded,) = connection.execute(query, [f"inbound-{_SOURCE}"]).fetchone() or (0,)
    sent = int(RATE * SECONDS)
    how = f"{RATE:,.0f} webhooks a second for {SECONDS:.0f} s, one event each, the client on the same machine"
    return [
        Figure(name="storm: webhooks recorded", value=recorded / sent, unit="of all", target=1.0, how=how),
        Figure(name="storm: sent again after a 503", value=found.sent_again / sent, unit="of all"),
        Figure(name="storm: until all are recorded", value=found.seconds, unit="s"),
        Figure(name="another way in, alone: p50", value=alone, unit="ms"),
        Figure(name="another way in, beside the storm: p50", value=beside, unit="ms"),
        Figure(
            name="another way in: beside the storm to alone, p50",
            value=beside / alone,
            unit="times",
            target=SLOWED_AT_MOST,
            at_most=True,
            how=f"{OTHERS:.0f} withdrawals a second by POST /v1/decisions, from the request to its answer",
        ),
    ]


def _others(stack: Stack, name: str, seconds: float = SECONDS) -> float:
    """The median time of an answer, in ms."""
    people = [Place("email", f"{name}-{number}@example.com") for number in range(int(OTHERS * seconds))]
    sent = revoke(stack.endpoints.api, stack.endpoints.api_key, people, rate=OTHERS)
    return median(map(_milliseconds, sent))


def _milliseconds(sent: Sent) -> float:
    return (sent.answered_at - sent.sent_at) / 1_000


def send_storm(api: str, secret: str, count: int, rate: float) -> Storm:
    """In a process of its own."""
    return asyncio.run(_storm(api, base64.b64decode(secret.removeprefix("whsec_")), count, rate))


async def _storm(api: str, key: bytes, count: int, rate: float) -> Storm:
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(api, connector=connector) as session:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        under_way = []
        for number in range(count):
            if (wait := begin + number / rate - loop.time()) > 0:
                await asyncio.sleep(wait)
            under_way.append(asyncio.create_task(_webhook(session, key, number)))
        times = await asyncio.gather(*under_way)
        return Storm(accepted=count, sent_again=sum(each > 1 for each in times), seconds=loop.time() - begin)


async def _webhook(session: aiohttp.ClientSession, key: bytes, number: int) -> int:
    """How often it was sent until it was answered 200."""
    body = json.dumps({"type": "opt_out", "address": f"storm-{number}@example.com"}).encode()
    times = 0
    while True:
        times += 1
        sent = str(int(time.time()))
        digest = hmac.digest(key, f"m{number}.{sent}.".encode() + body, hashlib.sha256)
        headers = {
            "webhook-id": f"m{number}",
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
