"""One consumer process of the transport's bench: prints records a second, from its first record on.

python -m tests.bench.transport_consumer chunks|stock BOOTSTRAP TOPIC GROUP COUNT
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from time import perf_counter


class Meter:
    """Counts up to `count` records after the first ones, prints the rate and ends the process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen = 0
        self._begun = 0.0

    def saw(self, records: int) -> None:
        if not self._begun:
            self._begun = perf_counter()
            return
        self._seen += records
        if self._seen >= self._count:
            print(f"\n{self._seen / (perf_counter() - self._begun)}", flush=True)
            os._exit(0)


def chunks(bootstrap: str, topic: str, group: str, meter: Meter) -> None:
    from prometheus_client import CollectorRegistry

    from consent_kafka.transport import Chunk, Ownership, StreamSpec, TransportMetrics, build, run
    from consent_service.health import Health

    class Nothing:
        async def process(self, chunk: Chunk) -> None:
            chunk.acknowledge()
            meter.saw(len(chunk.records))

        async def close(self) -> None: ...

    async def open_partition(topic: str, partition: int, ownership: Ownership) -> Nothing:
        return Nothing()

    app = build(
        StreamSpec(name="bench", group=group, topics=(topic,), open=open_partition),
        bootstrap=bootstrap,
        instance_id="bench",
        health=Health(),
        metrics=TransportMetrics.on(CollectorRegistry()),
    )
    logging.basicConfig(level=logging.INFO)
    sys.exit(run([app]))


def stock(bootstrap: str, topic: str, group: str, meter: Meter) -> None:
    import faust

    app = faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        value_serializer="raw",
        datadir=tempfile.mkdtemp(),
        web_enabled=False,
        topic_disable_leader=True,
        autodiscover=False,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
    )

    @app.agent(app.topic(topic, value_type=bytes))
    async def nothing(stream: faust.StreamT[bytes]) -> None:
        async for _ in stream:
            meter.saw(1)

    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    kind, bootstrap, topic, group, count = sys.argv[1:]
    {"chunks": chunks, "stock": stock}[kind](bootstrap, topic, group, Meter(int(count)))
