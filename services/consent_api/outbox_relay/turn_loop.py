"""Takes turns: finds out, each second, up to which moment a lane of the ledger is complete below which outbox id.

A turn reads the clock, then which transactions are writing the lane's outbox, waits until those have ended, and notes
the highest id that is visible then. Turns overlap: one that waits for a long import does not hold up the next. All of
a turn happens on one connection; when that breaks, the turn is discarded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import Connection, Engine

from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.outbox_table import UNREACHABLE
from consent_api.outbox_relay.points import PartitionProgress, Point
from consent_api.outbox_relay.timing import TURN_INTERVAL_SECONDS, WRITER_POLL_SECONDS, WRITER_WAIT_SECONDS
from consent_api.outbox_relay.turns import TurnTable
from consent_contracts.errors import ContractError, NotRegisteredError, RegistryUnavailableError
from consent_service.clock import is_ahead
from consent_service.errors import RetryStoppedError
from consent_service.health import Health
from consent_service.retry import Backoff, Failure, retry

log = logging.getLogger(__name__)

_BACKOFF = Backoff((TURN_INTERVAL_SECONDS,))


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneState:
    """What the ledger held of a lane: points to publish, when this relay last took or finished a turn, and partitions,
    when it last tried to take one.

    `read`: counts the readings, so that its user recognises a newer one. `clock`: the database's time when this relay
    last took a turn, which was for the reading `clock_read`; None before the first."""

    read: int = 0
    clock: int | None = None
    clock_read: int = 0
    points: tuple[Point, ...] = ()
    partitions: Mapping[int, PartitionProgress] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class OpenTurn:
    """A turn that still waits for transactions. `waiting_for`: their virtual ids; None before they were looked up."""

    turn: int
    resolved_at: int
    inbound_resolved_at: int | None
    give_up_at: float
    waiting_for: frozenset[str] | None = None

    def observe(self, writers: frozenset[str]) -> bool:
        """Whether all that wrote when the turn began have ended, given those that write now."""
        self.waiting_for = writers if self.waiting_for is None else self.waiting_for & writers
        return not self.waiting_for


class TurnLoop:
    """One lane's turns, in a thread of its own. `state` may be read from any thread."""

    def __init__(
        self,
        *,
        lane: Lane,
        name: str,
        engine: Engine,
        table: TurnTable,
        topic_id: Callable[[], str | None],
        prepare: Callable[[], None],
        partitions: int,
        metrics: RelayMetrics,
        health: Health,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`engine` serves this loop alone. `topic_id` asks the broker for the id of the lane's topic, None: unknown.
        `prepare` looks up the schemas of that topic: here, as the lane's own thread must not wait for the registry."""
        self._lane = lane
        self._name = name
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._table = table
        self._topic_id = topic_id
        self._prepare = prepare
        self._count = partitions
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._open: list[OpenTurn] = []
        self._next_at = 0.0
        self._pause = WRITER_POLL_SECONDS[0]
        self.state = LaneState()

    def run(self, stop: threading.Event) -> None:
        """Survives any absence of the database and the registry. Whatever else is raised is a bug and ends it."""
        with suppress(RetryStoppedError):
            retry(
                self._prepare_schemas,
                on=(RegistryUnavailableError, NotRegisteredError),
                backoff=_BACKOFF,
                stop=stop,
                report=self._report_schemas,
            )
            retry(partial(self._take_turns, stop), on=UNREACHABLE, backoff=_BACKOFF, stop=stop, report=self._report)

    def _prepare_schemas(self) -> None:
        self._health.heartbeat(self._name)
        self._prepare()
        self._health.set_ready(self._name)

    def _report_schemas(self, failure: Failure[ContractError]) -> None:
        reason = f"waiting for the schema registry: {failure.error}"
        if failure.is_news:
            log.warning("turns paused", extra={"lane": self._lane.value, "error": reason})
        self._health.set_ready(self._name, reason)

    def _take_turns(self, stop: threading.Event) -> None:
        """Until `stop`, or until the connection breaks."""
        self._health.heartbeat(self._name)
        with self._engine.connect() as connection:
            while not stop.is_set():
                self._health.heartbeat(self._name)
                stop.wait(self.step(connection))

    def _report(self, failure: Failure[Exception]) -> None:
        self._discard_open()
        log.warning("turns paused", extra={"lane": self._lane.value, "error": type(failure.error).__name__})

    def step(self, connection: Connection) -> float:
        """Take a turn if it is time, finish those whose transactions have ended; the seconds until the next step."""
        if self._clock() >= self._next_at:
            self._next_at = self._clock() + TURN_INTERVAL_SECONDS
            self._pause = WRITER_POLL_SECONDS[0]
            self._take(connection)
        if self._open:
            self._advance(connection)
        if not self._open:
            return max(self._next_at - self._clock(), 0.0)
        self._pause = min(self._pause * 2, WRITER_POLL_SECONDS[1])
        return min(self._pause, max(self._next_at - self._clock(), 0.0))

    def _take(self, connection: Connection) -> None:
        topic_id = self._topic_id()
        turn = self._table.take(connection)
        if turn is None:
            # The points are for the relay whose turn it is. Where the topic ends concerns each that writes to it.
            partitions = self._table.partitions(connection, topic_id=None, count=self._count)
            self.state = replace(self.state, read=self.state.read + 1, partitions=partitions)
            return
        resolved_at, inbound = self._table.clock(connection)
        self._read(connection, topic_id, clock=resolved_at)
        self._open.append(
            OpenTurn(
                turn=turn,
                resolved_at=resolved_at,
                inbound_resolved_at=inbound,
                give_up_at=self._clock() + WRITER_WAIT_SECONDS[self._lane],
            )
        )

    def _advance(self, connection: Connection) -> None:
        writers = self._table.writers(connection)
        finished = [each for each in self._open if each.observe(writers)]
        if finished:
            highest = self._table.highest_id(connection)
            for each in finished:
                self._table.keep(
                    connection,
                    Point(
                        turn=each.turn,
                        resolved_at=each.resolved_at,
                        highest_outbox_id=highest,
                        inbound_resolved_at=each.inbound_resolved_at,
                    ),
                )
            self._count_turns("kept", len(finished))
            self._read(connection, None, clock=None)
            self._table.prune(connection, published=self.state.partitions)
        now = self._clock()
        timed_out = [each for each in self._open if each not in finished and now >= each.give_up_at]
        if timed_out:
            self._count_turns("timed_out", len(timed_out))
            log.error("a transaction writes the outbox for too long", extra={"lane": self._lane.value})
        self._open = [each for each in self._open if each not in finished and each not in timed_out]

    def _read(self, connection: Connection, topic_id: str | None, *, clock: int | None) -> None:
        partitions = self._table.partitions(connection, topic_id=topic_id, count=self._count)
        points = tuple(self._table.points(connection))
        stated = [each.resolved_at for each in points] + [each.resolved_at or 0 for each in partitions.values()]
        latest = max(stated, default=0)
        if clock is not None and is_ahead(latest, clock=clock):
            self._discard_later(connection, clock, latest)
            partitions = self._table.partitions(connection, topic_id=topic_id, count=self._count)
            points = tuple(self._table.points(connection))
        state = replace(self.state, read=self.state.read + 1, points=points, partitions=partitions)
        self.state = state if clock is None else replace(state, clock=clock, clock_read=state.read)

    def _discard_later(self, connection: Connection, clock: int, latest: int) -> None:
        """Otherwise the lane would state nothing until the clock shows the old time again. What was stated is no longer
        true, and the merge goes by what is stated last."""
        self._table.discard_later(connection, clock)
        self._metrics.clock_set_back.labels(self._lane.value).inc()
        log.error(
            "the database's clock was set back: resolved timestamps begin again at its present time; synchronise its"
            " host (NTP)",
            extra={"lane": self._lane.value, "seconds": round((latest - clock) / 1_000_000, 1)},
        )

    def _discard_open(self) -> None:
        self._count_turns("lost", len(self._open))
        self._open = []
        self._next_at = 0.0

    def _count_turns(self, outcome: str, number: int) -> None:
        self._metrics.turns.labels(self._lane.value, outcome).inc(number)
