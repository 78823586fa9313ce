"""Local state restored from Kafka topics: a store of rows and positions, and a reader that fills it."""

from consent_state.compactor import Compactor
from consent_state.errors import (
    RestoreFailedError,
    RestoreStoppedError,
    StateError,
    StateStoreCorruptedError,
    StateStoreUnavailableError,
)
from consent_state.metrics import StateStoreMetrics
from consent_state.offsets import high_watermarks, last_stable_offsets, low_watermarks, topic_ids
from consent_state.positions import Position, Rebuild, RebuildReason, TopicPartition
from consent_state.reader import Batch, Remaining, TableReader, table_consumer
from consent_state.restore import Restored, open_transactions, restore
from consent_state.start import Start, find_misfits, start_positions
from consent_state.store import StateStore, WriteBatch

__all__ = [
    "Batch",
    "Compactor",
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
    "StateStoreMetrics",
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
