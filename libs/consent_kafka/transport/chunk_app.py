"""A Faust app without what we do not use of Faust, and with what our consumer needs."""

from __future__ import annotations

import logging
from collections.abc import Callable

import faust
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from faust.types import TP

from consent_kafka.errors import RestartRequestedError
from consent_kafka.transport.api import StreamSpec
from consent_kafka.transport.membership import Membership
from consent_kafka.transport.metrics import TransportMetrics
from consent_kafka.transport.options import Options
from consent_kafka.transport.partition_tasks import PartitionTasks
from consent_service.health import Health

log = logging.getLogger(__name__)


class ConsumerOnlyStrategy(BootStrategy):
    """Effects are the handlers' affair: no Faust producer, no web server."""

    enable_kafka_producer = False
    enable_web = False


class NoTables(TableManager):
    """The handlers keep the state. Without tables there is nothing to recover or to wait for."""

    async def on_start(self) -> None:
        self._tables_registered.set()

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        pass

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        pass

    async def wait_until_recovery_completed(self) -> bool:
        return False


class ChunkApp(faust.App):
    """What the consumer and its thread need of a stream; `build` puts it together."""

    BootStrategy = ConsumerOnlyStrategy

    stream_spec: StreamSpec
    options: Options
    membership: Membership
    partition_tasks: PartitionTasks
    health: Health
    metrics: TransportMetrics
    end_process: Callable[[BaseException], None]

    def fail(self, failure: BaseException) -> None:
        """End the whole process, loudly, after what is acknowledged is committed. From the loop's thread."""
        log.critical("a stream has failed", extra={"stream": self.stream_spec.name}, exc_info=failure)
        self.end_process(failure)

    def start_again(self) -> None:
        """End the process in order, and have `run` answer EXIT_RESTART. From the loop's thread."""
        self.end_process(RestartRequestedError())

    def wake(self) -> None:
        if self._consumer is not None:
            self._consumer.wake()  # type: ignore[attr-defined]

    async def on_stop(self) -> None:
        consumer = self._consumer
        if consumer is not None:
            consumer.stop_flow()
            try:
                await self.partition_tasks.close()
                await consumer.commit()
            except Exception as failure:
                self.fail(failure)
        await super().on_stop()

    def _create_directories(self) -> None:
        """Faust would make one for its tables."""
