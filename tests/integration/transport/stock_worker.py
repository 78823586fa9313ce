"""Stock Faust under the same scenarios: an agent with the settings its documentation suggests.

python stock_worker.py '{"bootstrap": ..., "topic": ..., "group": ..., "journal": ...}'
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator

import faust

OPTIONS = json.loads(sys.argv[1])
JOURNAL = os.open(OPTIONS["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

app = faust.App(
    OPTIONS["group"],
    broker=f"kafka://{OPTIONS['bootstrap']}",
    value_serializer="raw",
    datadir=tempfile.mkdtemp(),
    web_enabled=False,
    topic_disable_leader=True,
    autodiscover=False,
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.2,
    broker_commit_interval=0.5,
    consumer_auto_offset_reset="earliest",
)
topic = app.topic(OPTIONS["topic"], value_type=bytes)


def note(what: str, **fields: object) -> None:
    line = {"what": what, "at": time.monotonic(), "pid": os.getpid(), **fields}
    os.write(JOURNAL, json.dumps(line).encode() + b"\n")


@app.agent(topic, concurrency=OPTIONS.get("concurrency", 1))
async def consume(stream: AsyncIterator[bytes]) -> None:
    async for raw in stream:
        value = raw.decode()
        if value == OPTIONS.get("fail"):
            note("raise", values=[value])
            raise RuntimeError("a bug in the agent")
        if value == OPTIONS.get("slow"):
            await asyncio.sleep(OPTIONS["slow_seconds"])
        note("done", values=[value])


if __name__ == "__main__":
    note("start")
    faust.Worker(app, loglevel="INFO", redirect_stdouts=False).execute_from_commandline()
