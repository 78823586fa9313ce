"""A stream as a Faust app: Faust's agent, group membership, rebalancing and sensors over our chunks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import faust
from faust.types import AppT, EventT, Message
from mode import CrashingSupervisor
from yarl import URL

from consent_kafka.instance_watch import InstanceWatch, find_holder
from consent_kafka.transport.api import Chunk, StreamSpec
from consent_kafka.transport.chunk_app import ChunkApp, NoTables
from consent_kafka.transport.consumer import ChunkTransport
from consent_kafka.transport.membership import Membership
from consent_kafka.transport.metrics import TransportMetrics
from consent_kafka.transport.options import Options
from consent_kafka.transport.partition_tasks import PartitionTasks
from consent_kafka.transport.timing import CLOSE_SECONDS, DRAIN_SECONDS, MAX_POLL_SECONDS, SESSION_SECONDS
from consent_service.health import Health
from consent_service.stall_timer import STALLED_SECONDS


class ChunkSchema(faust.Schema[None, Chunk]):
    """Chunks go through as they are: decoding is the handler's, which has dead letters at hand."""

    def compile(self, app: AppT, **_: Any) -> Callable[..., Awaitable[EventT[Chunk]]]:
        async def decode(message: Message, *, propagate: bool = False) -> EventT[Chunk]:
            return app.create_event(None, message.value, None, message)

        return decode


def build(
    stream: StreamSpec,
    *,
    bootstrap: str,
    instance_id: str,
    health: Health,
    metrics: TransportMetrics,
    client_config: Mapping[str, Any] | None = None,
    session_timeout: float = SESSION_SECONDS,
    max_poll_interval: float = MAX_POLL_SECONDS,
    max_chunk: int = 1_000,
    max_outstanding: int = 5_000,
    drain_timeout: float = DRAIN_SECONDS,
    close_timeout: float = CLOSE_SECONDS,
    stalled_after: float = STALLED_SECONDS,
    static: bool = True,
) -> ChunkApp:
    """A Faust app that consumes `stream`; start it with `run`. Import-safe: connects to nothing yet.

    `instance_id` is this process's own: a static member keeps its partitions over a restart within the session timeout,
    and of two processes with the same one the first that has seen that the other lives ends with
    DuplicateInstanceIdError. Without `static` the member leaves the group when it stops, sends a heartbeat every half
    second, and keeps its partitions when others join. `client_config`: security settings in librdkafka's words.
    `drain_timeout`: seconds a handler has to finish before `process` is cancelled. `close_timeout`: seconds that the
    cancelled `process`, and then `close`, may take; a handler that takes longer ends the process. `stalled_after`:
    seconds without progress in a partition that has work, after which the process is not ready.
    """
    options = Options(
        bootstrap=bootstrap,
        instance_id=instance_id,
        client_config=client_config or {},
        session_timeout=session_timeout,
        max_poll_interval=max_poll_interval,
        max_chunk=max_chunk,
        max_outstanding=max_outstanding,
        drain_timeout=drain_timeout,
        close_timeout=close_timeout,
        stalled_after=stalled_after,
        static=static,
    )
    app = ChunkApp(
        stream.group,
        autodiscover=False,
        broker=[URL("kafka://")],
        broker_session_timeout=options.session_timeout,
        broker_heartbeat_interval=options.heartbeat_interval,
        broker_commit_interval=options.commit_interval,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=instance_id if static else None,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        TableManager=NoTables,
    )
    metrics.start_at_zero(stream.name, stream.topics)
    app.transport = ChunkTransport([URL("kafka://")], app)
    app.stream_spec, app.options, app.health, app.metrics = stream, options, health, metrics
    app.membership = Membership(
        session_timeout=options.session_timeout,
        instance=_instance_watch(options, stream.group) if static else None,
    )
    app.partition_tasks = PartitionTasks(
        stream,
        membership=app.membership,
        max_outstanding=max_outstanding,
        drain_timeout=drain_timeout,
        close_timeout=close_timeout,
        stalled_after=stalled_after,
        health=health,
        metrics=metrics,
        failed=app.fail,
        ready_changed=app.wake,
    )
    _consume(app)
    return app


def _instance_watch(options: Options, group: str) -> InstanceWatch:
    return InstanceWatch(
        instance_id=options.instance_id,
        session_timeout=options.session_timeout,
        look=partial(find_holder, options.bootstrap, group, options.instance_id, options.client_config),
    )


def _consume(app: ChunkApp) -> None:
    topic = app.topic(*app.stream_spec.topics, schema=ChunkSchema(), acks=False)

    @app.agent(topic, name=app.stream_spec.name, supervisor_strategy=CrashingSupervisor)
    async def hand_over(stream: faust.StreamT[Chunk]) -> None:
        async for event in stream.events():
            chunk: Chunk = event.value
            task = app.partition_tasks.get(chunk.topic, chunk.partition)
            if task is not None:
                task.enqueue(chunk)
                app.metrics.chunks.labels(app.stream_spec.name, chunk.topic).inc()
                app.metrics.records.labels(app.stream_spec.name, chunk.topic).inc(len(chunk.records))
