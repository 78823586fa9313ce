"""A process under test: consumes one topic through our transport and writes what it does to a journal file.

    python journal_worker.py '{"bootstrap": ..., "topic": ..., "group": ..., "instance": ..., "journal": ...}'

A line is written with one system call, so that a kill -9 loses none that was written before.
"""

import asyncio
import json
import logging
import os
import sys
import time

from consent_runtime.observability import Health
from consent_runtime.transport import Chunk, Ownership, Stream, TransportMetrics, build, run
from prometheus_client import CollectorRegistry

OPTIONS = json.loads(sys.argv[1])
JOURNAL = os.open(OPTIONS["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
STARTED = time.monotonic()


def note(what: str, **fields: object) -> None:
    line = {"what": what, "at": time.monotonic(), "pid": os.getpid(), "instance": OPTIONS["instance"], **fields}
    os.write(JOURNAL, json.dumps(line).encode() + b"\n")


class Journal:
    def __init__(self, topic: str, partition: int, ownership: Ownership) -> None:
        self.topic = topic
        self.partition = partition
        self.ownership = ownership
        self.held_back: list[Chunk] = []

    async def process(self, chunk: Chunk) -> None:
        values = [record.value.decode() for record in chunk.records if record.value is not None]
        if OPTIONS.get("fail_on") in values:
            raise RuntimeError("a bug in the handler")
        note("begin", partition=self.partition, first=chunk.records[0].offset)
        if OPTIONS.get("slow_on") in values:
            await asyncio.sleep(OPTIONS["slow_seconds"])
        await asyncio.sleep(OPTIONS.get("pace", 0))
        note(
            "done",
            partition=self.partition,
            offsets=[record.offset for record in chunk.records],
            values=values,
            fresh=self.ownership.fresh(),
        )
        if OPTIONS.get("never_acknowledge_first") and not self.held_back:
            self.held_back.append(chunk)
        else:
            chunk.acknowledge()

    async def close(self) -> None:
        note("close", partition=self.partition)


async def open_partition(topic: str, partition: int, ownership: Ownership) -> Journal:
    await asyncio.sleep(OPTIONS.get("recovery_seconds", 0))
    note("open", partition=partition, after=time.monotonic() - STARTED)
    return Journal(topic, partition, ownership)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stream = Stream(name="journal", group=OPTIONS["group"], topics=(OPTIONS["topic"],), open=open_partition)
    app = build(
        stream,
        bootstrap=OPTIONS["bootstrap"],
        instance_id=OPTIONS["instance"],
        health=Health(),
        metrics=TransportMetrics.on(CollectorRegistry()),
        session_timeout=OPTIONS.get("session_timeout", 6.0),
        max_chunk=OPTIONS.get("max_chunk", 1000),
    )
    note("start")
    code = run([app])
    note("exit", code=code)
    return code


if __name__ == "__main__":
    sys.exit(main())
