"""The same hops without the work: HTTP in, a row committed, a record through Kafka, HTTP out. Nothing is merged,
fenced, sealed, batched, retried, acknowledged by receipts or counted: what the servers and the network alone cost.

    python -m tests.bench.bare_relay <JSON of what `Task` holds>

Prints its port once it serves, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import threading
import time
from contextlib import suppress
from uuid import uuid4

import aiohttp
import msgspec
import psycopg
from aiohttp import web
from psycopg_pool import ConnectionPool

from consent_kafka import clients
from consent_service.clock import now_micros
from provider_sandbox.webhook import signature


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is."""

    kafka: str
    database: str
    topic: str
    url: str
    secret: str


class BareRelay:
    """Answers as the API does, so that the same client measures it."""

    def __init__(self, task: Task, pool: ConnectionPool) -> None:
        self._task = task
        self._pool = pool
        self._producer = clients.AsyncProducer(task.kafka, linger_ms=0)
        self._consumed = asyncio.Queue[bytes]()

    async def accept(self, request: web.Request) -> web.Response:
        body = await request.read()
        recorded = now_micros()
        key = uuid4().hex
        await asyncio.to_thread(self._commit, body)
        message = {
            "type": "suppression.updated",
            "data": {"channel": "sms", "address_key": key, "purposes": {"promotions": {"permitted": False}}},
        }
        await self._producer.send(self._task.topic, key.encode(), msgspec.json.encode(message))
        answer = {
            "decision_id": key,
            "recorded_at": f"1970-01-01T00:00:{recorded % 60:02}Z",
            "addresses": [key],
        }
        return web.json_response(answer, status=201)

    def _commit(self, body: bytes) -> None:
        with self._pool.connection() as connection:
            connection.execute("INSERT INTO bare (body) VALUES (%s)", [body])

    def consume(self, loop: asyncio.AbstractEventLoop, stopping: threading.Event) -> None:
        """On a thread of its own."""
        consumer = clients.consumer(self._task.kafka, self._task.topic)
        consumer.subscribe([self._task.topic])
        while not stopping.is_set():
            message = consumer.poll(0.2)
            value = message.value() if message is not None and message.error() is None else None
            if value is not None:
                loop.call_soon_threadsafe(self._consumed.put_nowait, value)
        consumer.close()

    async def send(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                body = await self._consumed.get()
                stamp, message_id = int(time.time()), uuid4().hex
                headers = {
                    "webhook-id": message_id,
                    "webhook-timestamp": str(stamp),
                    "webhook-signature": signature(self._task.secret, message_id, stamp, body),
                }
                async with session.post(self._task.url, data=body, headers=headers) as answer:
                    answer.raise_for_status()


async def serve(task: Task) -> None:
    with psycopg.connect(task.database, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bare (id bigserial PRIMARY KEY, body bytea)")
    with ConnectionPool(task.database, min_size=8, max_size=8) as pool:
        relay, stopping = BareRelay(task, pool), threading.Event()
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=relay.consume, args=(loop, stopping))
        thread.start()
        senders = [asyncio.create_task(relay.send()) for _ in range(8)]
        app = web.Application()
        app.router.add_post("/v1/decisions", relay.accept)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        stopping.set()
        await asyncio.to_thread(thread.join)
        for sender in senders:
            sender.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*senders)
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(msgspec.json.decode(base64.b64decode(sys.argv[1]), type=Task)))
