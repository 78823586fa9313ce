"""The resolved timestamps of all lists, read once for all views of a process."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Message

from consent_client.reading_thread import TURN_SECONDS, ReadingThread
from consent_client.topic_reader import TopicReader, record_coordinates
from consent_contracts.checks import decode_resolved
from consent_contracts.codec import Codec
from consent_contracts.errors import InvalidRecordError, RegistryUnavailableError, UnreadableError
from consent_contracts.topics import Topics
from consent_kafka.resolved import ListResolved
from consent_service.clock import elapsed_seconds, now_micros

log = logging.getLogger(__name__)

_PROBE_SECONDS = 1.0
_SAMPLES = 16

Receive = Callable[[ListResolved], None]


class ResolvedTimestamps:
    """Reads suppression.resolved.v1 in a thread of its own. Start it after the views that follow it were built."""

    def __init__(
        self,
        *,
        topics: Topics,
        codec: Codec,
        bootstrap: str,
        client_config: Mapping[str, Any] | None = None,
        clock: Callable[[], int] = now_micros,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_turn` is called several times a second while the reading thread lives, from that thread."""
        self._topic = topics.resolved
        self._group = topics.group("view-resolved")
        self._codec = codec
        self._bootstrap = bootstrap
        self._client_config = dict(client_config or {})
        self._clock = clock
        self._on_turn = on_turn
        self._followers: list[Receive] = []
        self._clock_leads: deque[int] = deque(maxlen=_SAMPLES)
        self._thread = ReadingThread(
            name="resolved", topic=self._topic, read=self._read, on_turn=on_turn, on_failure=lambda: None
        )

    def follow(self, receive: Receive) -> None:
        """Call `receive` with each record from now on, in the reading thread."""
        self._followers.append(receive)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._thread.close()

    @property
    def failure(self) -> BaseException | None:
        """What has ended the reading thread: a fault of ours, or LinkRefusedError before it has read anything."""
        return self._thread.failure

    @property
    def clock_lead(self) -> int | None:
        """By how many micros the own clock is ahead of the broker's (negative: behind), or more exactly how long ago
        by it the most recent of the last records was appended. None: no record has come since the start."""
        return min(self._clock_leads.copy(), default=None)

    def _read(self) -> None:
        reader = TopicReader(
            self._topic,
            bootstrap=self._bootstrap,
            group=self._group,
            client_config=self._client_config,
            probe_seconds=_PROBE_SECONDS,
            clock=elapsed_seconds,
        )
        self._thread.connected = True
        live: set[int | None] = set()
        try:
            while not self._thread.stopping.is_set():
                self._on_turn()
                messages, read_at = reader.read(TURN_SECONDS), time.monotonic()
                for message in messages:
                    if message.error() is not None:
                        live.add(message.partition())
                    else:
                        self._take(message, read_at, live=message.partition() in live)
                    reader.done(message)
                reader.freshness.update()
        finally:
            reader.close()

    def _take(self, message: Message, read_at: float, *, live: bool) -> None:
        append_time = message.timestamp()[1] * 1_000
        if live:
            self._clock_leads.append(self._clock() - append_time)
        record = self._decoded(message, append_time, read_at)
        if record is not None:
            for receive in self._followers:
                receive(record)

    def _decoded(self, message: Message, append_time: int, read_at: float) -> ListResolved | None:
        """None for what is no statement about its partition: the list stays as old as it is."""
        value = message.value()
        while value is not None:
            try:
                datum = decode_resolved(self._codec, self._topic, value, partition=message.partition(), read_at=read_at)
                return ListResolved.of(datum, append_time=append_time)
            except RegistryUnavailableError:
                self._thread.pause()
            except (UnreadableError, InvalidRecordError) as error:
                log.warning(
                    "a resolved record cannot be read", extra={**record_coordinates(message), "error": str(error)}
                )
                return None
        return None
