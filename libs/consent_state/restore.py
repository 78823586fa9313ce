"""Brings a store to given ends of its topics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from consent_state.errors import RestoreFailedError, RestoreStoppedError
from consent_state.offsets import last_stable_offsets
from consent_state.positions import TopicPartition
from consent_state.reader import Batch, Remaining, TableReader
from consent_state.store import StateStore, WriteBatch

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_CHECK_SECONDS = 1.0
_STALLED_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What a restore took."""

    records: int
    seconds: float


def restore(
    store: StateStore,
    reader: TableReader,
    ends: Mapping[TopicPartition, int],
    *,
    admin: AdminClient,
    apply: Callable[[Batch, WriteBatch], None],
    waiting: Callable[[str], None],
    beat: Callable[[], None],
    stopping: threading.Event,
) -> Restored:
    """Read until every partition has reached its end; `apply` turns a batch into changes of the store. `beat` is called
    several times a second, also while nothing comes.

    `ends` are high watermarks. For a writer that is fenced by Kafka they must be asked for after `init_transactions`:
    from then on no predecessor can commit. While the last stable offset is lower, a transaction of another producer is
    open on the topic; this waits for its end and gives `waiting` a sentence that names partition and offsets. Positions
    are stored with each batch, so a restore that failed goes on where it was. Raises RestoreFailedError,
    RestoreStoppedError, StateStoreCorruptedError.
    """
    began = progressed = time.monotonic()
    checked, records = began, 0
    while remaining := reader.remaining(ends):
        if stopping.is_set():
            raise RestoreStoppedError("stopped before the ends of the topics were reached")
        beat()
        batches = reader.poll(_POLL_SECONDS)
        if batches:
            writes = store.batch()
            for batch in batches:
                apply(batch, writes)
                records += len(batch.messages)
            store.write(writes, positions={batch.partition: batch.position for batch in batches})
            progressed = time.monotonic()
            continue
        now = time.monotonic()
        if now - max(checked, progressed) < _CHECK_SECONDS:
            continue
        checked = now
        if transactions := open_transactions(admin, remaining):
            waiting(transactions)
            progressed = now
        elif now - progressed > _STALLED_SECONDS:
            stalled = ", ".join(sorted(map(str, remaining)))
            raise RestoreFailedError(f"the broker delivered nothing of {stalled} for {_STALLED_SECONDS:.0f} s")
    # Also of those that had nothing to read: the store is as new as this, and the next start goes on from here.
    store.write(store.batch(), positions={at: reader.positions[at] for at in ends})
    store.flush()
    return Restored(records=records, seconds=time.monotonic() - began)


def open_transactions(admin: AdminClient, remaining: Mapping[TopicPartition, Remaining]) -> str:
    """Which of these partitions cannot be read to their ends because a transaction is open; empty if none."""
    stable = last_stable_offsets(admin, remaining)
    waiting = [
        f"{at} (last stable offset {stable[at]}, high watermark {left.end})"
        for at, left in sorted(remaining.items())
        if stable[at] < left.end
    ]
    return f"waiting for an open transaction on {', '.join(waiting)}" if waiting else ""
