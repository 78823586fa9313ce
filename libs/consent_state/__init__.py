"""Local state restored from Kafka topics: a store of rows and positions, and a reader that fills it."""

from .errors import (
    RestoreFailedError,
    RestoreStoppedError,
    StateError,
    StateStoreCorruptedError,
    StateStoreUnavailableError,
)
from .offsets import high_watermarks, last_stable_offsets, low_watermarks, topic_ids
from .positions import Position, Rebuild, RebuildReason, TopicPartition
from .reader import Batch, Remaining, TableReader, table_consumer
from .restore import Restored, open_transactions, restore
from .start import Start, find_misfits, start_positions
from .store import StateStore, WriteBatch

__all__ = [
    "Batch",
    "Position",
    "Rebuild",
    "RebuildReason",
    "Remaining",
    "RestoreFailedError",
    "RestoreStoppedError",
    "Restored",
    "Start",
    "StateError",
    "StateStore",
    "StateStoreCorruptedError",
    "StateStoreUnavailableError",
    "TableReader",
    "TopicPartition",
    "WriteBatch",
    "find_misfits",
    "high_watermarks",
    "last_stable_offsets",
    "low_watermarks",
    "open_transactions",
    "restore",
    "start_positions",
    "table_consumer",
    "topic_ids",
]
