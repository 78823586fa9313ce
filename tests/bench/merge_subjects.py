"""The three ways to do the merge stage's work that are compared, each in a process of its own.

    python -m tests.bench.merge_subjects ours|plain|stock <JSON of what `Task` holds>

All three use the same codec, rules and local form of an entry. Each prints the records per second it came to, from
its first record to the acknowledgement of its last.
"""

from __future__ import annotations

import cProfile
import json
import logging
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from consent_contracts import AddressEntry, Codec, Topics, entry_from_change, entry_to_avro
from consent_contracts.join import join
from consent_service.clock import now_micros

GROUP = "suppression"
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(AddressEntry).decode


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to process: all `records` of consent.changes under `prefix`."""

    kafka: str
    registry: str
    prefix: str
    records: int
    directory: str
    profile: str = ""

    def text(self) -> str:
        return json.dumps(asdict(self))


def _report(task: Task, began: float) -> None:
    seconds = time.perf_counter() - began
    print(json.dumps({"per_second": task.records / seconds, "seconds": seconds}), file=sys.__stdout__, flush=True)


def ours(task: Task) -> None:
    """The merge stage as it runs in production."""
    from prometheus_client import CollectorRegistry

    from consent_kafka.transport import Chunk, Ownership, PartitionHandler, StreamSpec, TransportMetrics, build, run
    from consent_service.health import Health
    from suppression.merge_stream import MergePartitionFactory
    from suppression.metrics import MergeMetrics

    registry, health, topics = CollectorRegistry(), Health(), Topics(prefix=task.prefix)
    stage = MergePartitionFactory(
        topics=topics,
        partitions=4,
        state_dir=Path(task.directory) / "ours",
        instance_id="bench",
        transaction_timeout=10,
        codec=Codec.connect(task.registry, topics),
        open_dead_letters=lambda: None,  # type: ignore[arg-type, return-value]  # there is nothing to bury
        metrics=MergeMetrics.on(registry),
        health=health,
        bootstrap=task.kafka,
    )
    inner, done, began = stage.stream(), 0, 0.0

    class Counted:
        def __init__(self, handler: PartitionHandler) -> None:
            self._handler = handler

        async def process(self, chunk: Chunk) -> None:
            nonlocal began
            began = began or time.perf_counter()

            def acknowledged(_: Chunk) -> None:
                nonlocal done
                chunk.acknowledge()
                done += len(chunk.records)
                if done >= task.records:
                    _report(task, began)
                    os.kill(os.getpid(), signal.SIGTERM)

            await self._handler.process(
                Chunk(chunk.topic, chunk.partition, chunk.records, acknowledged, beat=lambda _: chunk.beat())
            )

        async def close(self) -> None:
            await self._handler.close()

    async def opened(topic: str, partition: int, ownership: Ownership) -> PartitionHandler:
        return Counted(await inner.open(topic, partition, ownership))

    stream = StreamSpec(name=inner.name, group=inner.group, topics=inner.topics, open=opened)
    run(
        [build(stream, bootstrap=task.kafka, instance_id="bench", health=health, metrics=TransportMetrics.on(registry))]
    )


def plain(task: Task) -> None:
    """A loop over confluent-kafka: as fast as Python gets, neither fenced nor a member that can be frozen."""
    from rocksdict import Options, Rdict

    from consent_kafka import clients

    topics = Topics(prefix=task.prefix)
    codec = Codec.connect(task.registry, topics)
    consumer: Any = clients.consumer(task.kafka, topics.group(GROUP), enable_auto_offset_store=True)
    producer: Any = clients.producer(task.kafka)
    state = Rdict(str(Path(task.directory) / "plain"), Options(raw_mode=True))
    consumer.subscribe([topics.changes])
    done, began = 0, 0.0
    while done < task.records:
        messages = consumer.consume(1_000, timeout=0.2)
        if not messages:
            continue
        began = began or time.perf_counter()
        for message in messages:
            assert message.error() is None, message.error()
            change = entry_from_change(codec.decode(topics.changes, message.value()))
            key = f"{change.channel}\0{change.address_key}".encode()
            found = state.get(key)
            before = None if found is None else _unpack(found)
            after = join(before, change)
            if after is not before:
                state[key] = _pack(after)
                topic, now = topics.suppression(change.channel), now_micros()
                producer.produce(
                    topic,
                    codec.encode(topic, entry_to_avro(after, now)),
                    message.key(),
                    message.partition(),
                    headers=_headers(change, now),
                )
                producer.poll(0)
        producer.flush()
        consumer.commit(asynchronous=False)
        done += len(messages)
    _report(task, began)
    consumer.close()


def stock(task: Task) -> None:
    """Faust as its documentation shows it: an agent, a table, topic.send."""
    import faust

    logging.disable(logging.WARNING)  # what it logs for each record would cost it a tenth of its speed
    topics = Topics(prefix=task.prefix)
    codec = Codec.connect(task.registry, topics)
    app = faust.App(
        topics.group(GROUP),
        broker=f"kafka://{task.kafka}",
        store="memory://",
        topic_partitions=4,
        web_enabled=False,
        value_serializer="raw",
        key_serializer="raw",
        datadir=str(Path(task.directory) / "stock"),
    )
    source = app.topic(topics.changes, key_type=bytes, value_type=bytes)
    sinks = {
        channel: app.topic(topics.suppression(channel), key_type=bytes, value_type=bytes) for channel in topics.channels
    }
    table = app.Table("entries", key_type=bytes, value_type=bytes, partitions=4)
    done, began = 0, 0.0

    @app.agent(source)
    async def merge(changes: Any) -> None:
        nonlocal done, began
        async for key, value in changes.items():
            began = began or time.perf_counter()
            change = entry_from_change(codec.decode(topics.changes, value))
            found = table.get(key)
            before = None if found is None else _unpack(found)
            after = join(before, change)
            if after is not before:
                table[key] = _pack(after)
                topic, now = topics.suppression(change.channel), now_micros()
                await sinks[change.channel].send(
                    key=key,
                    value=codec.encode(topic, entry_to_avro(after, now)),
                    headers=dict(_headers(change, now)),
                )
            done += 1
            if done == task.records:
                await app.producer.flush()
                _report(task, began)
                os.kill(os.getpid(), signal.SIGTERM)

    faust.Worker(app, loglevel="ERROR").execute_from_commandline()


def _headers(change: AddressEntry, now: int) -> list[tuple[str, bytes]]:
    from consent_contracts import cloudevents

    return cloudevents.headers(
        event_id=f"{change.decisions[0].decision_id}-{now}",
        event_type="relay.consent.v1.SuppressionEntry",
        source="/bench",
        time_micros=now,
    )


if __name__ == "__main__":
    asked = Task(**json.loads(sys.argv[2]))
    subject = {"ours": ours, "plain": plain, "stock": stock}[sys.argv[1]]
    if asked.profile:
        cProfile.run("subject(asked)", asked.profile)
    else:
        subject(asked)
