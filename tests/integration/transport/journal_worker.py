"""A process under test: consumes one topic through our transport and writes what it does to a journal.

    python journal_worker.py '{"bootstrap": ..., "topic": ..., "group": ..., "instance": ..., "journal": ...}'

A line is written with one system call, so that a kill -9 loses none that was written before it.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from functools import partial

from prometheus_client import CollectorRegistry

from consent_kafka.transport import Chunk, Ownership, StreamSpec, TransportMetrics, build, run
from consent_service import json_logs
from consent_service.health import Health, serve_metrics

OPTIONS = json.loads(sys.argv[1])
JOURNAL = os.open(OPTIONS["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
BACKGROUND: set[asyncio.Task[None]] = set()


def note(what: str, **fields: object) -> None:
    line = {"what": what, "at": time.monotonic(), "pid": os.getpid(), "instance": OPTIONS["instance"], **fields}
    os.write(JOURNAL, json.dumps(line).encode() + b"\n")


class Journal:
    """`slow`: a value that takes long, `behind`: it does so in the background; `hold`: chunks to leave
    unacknowledged until `release` names a file that exists; `fail`: a value that meets a bug."""

    def __init__(self, group: str, partition: int, ownership: Ownership) -> None:
        self.group = group
        self.partition = partition
        self.ownership = ownership

    async def process(self, chunk: Chunk) -> None:
        values = [record.value.decode() for record in chunk.records if record.value is not None]
        if OPTIONS.get("fail") in values:
            raise RuntimeError("a bug in the handler")
        while OPTIONS.get("stubborn") in values:
            note("stuck", partition=self.partition)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
        if OPTIONS.get("hang") in values:
            time.sleep(8)  # noqa: ASYNC251 - a handler that blocks the loop
        note("begin", partition=self.partition, first=chunk.records[0].offset, records=len(values))
        if OPTIONS.get("slow") in values and OPTIONS.get("behind"):
            task = asyncio.ensure_future(self.effect(chunk, values, OPTIONS["slow_seconds"]))
            BACKGROUND.add(task)
        elif OPTIONS.get("slow") in values:
            await self.effect(chunk, values, OPTIONS["slow_seconds"])
        else:
            await self.effect(chunk, values, OPTIONS.get("pace", 0))

    async def effect(self, chunk: Chunk, values: list[str], seconds: float) -> None:
        await asyncio.sleep(seconds)
        while "release" in OPTIONS and not os.path.exists(OPTIONS["release"]):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.05)
        offsets = [record.offset for record in chunk.records]
        note(
            "done",
            group=self.group,
            partition=self.partition,
            offsets=offsets,
            values=values,
            fresh=self.ownership.is_confirmed(),
        )
        chunk.acknowledge()

    async def close(self) -> None:
        note("close", partition=self.partition)


async def open_partition(group: str, topic: str, partition: int, ownership: Ownership) -> Journal:
    note("opening", partition=partition)
    await asyncio.sleep(OPTIONS.get("recovery_seconds", 0))
    note("open", partition=partition)
    return Journal(group, partition, ownership)


def main() -> int:
    json_logs.configure("INFO", "journal-worker")
    health = Health(stale_after=2.0, dead_after=OPTIONS.get("dead_after", 30.0))
    registry = CollectorRegistry()
    server = serve_metrics(registry, health, "127.0.0.1", 0)
    metrics = TransportMetrics.on(registry)
    apps = [
        build(
            StreamSpec(name=group, group=group, topics=(OPTIONS["topic"],), open=partial(open_partition, group)),
            bootstrap=OPTIONS["bootstrap"],
            instance_id=OPTIONS["instance"],
            health=health,
            metrics=metrics,
            session_timeout=6.0,
            max_poll_interval=OPTIONS.get("max_poll_interval", 60.0),
            drain_timeout=OPTIONS.get("drain_timeout", 2.0),
            close_timeout=OPTIONS.get("close_timeout", 8.0),
            max_chunk=OPTIONS.get("max_chunk", 1000),
            max_outstanding=OPTIONS.get("max_outstanding", 5000),
            stalled_after=OPTIONS.get("stalled_after", 60.0),
        )
        for group in [OPTIONS["group"], *OPTIONS.get("more_groups", ())]
    ]
    note("start", port=server.port)
    code = run(apps)
    note("exit", code=code)
    return code


if __name__ == "__main__":
    sys.exit(main())
