"""Kafka in, crash-safe: Faust with one event per fetched partition chunk.

A chunk is acknowledged as a range, explicitly, after all its effects; commits never pass the oldest range that is
not. See docs/decisions/ for why not stock Faust.
"""

from consent_kafka.errors import PartitionStuckError
from consent_kafka.transport.api import Chunk, Ownership, PartitionHandler, Record, StreamSpec
from consent_kafka.transport.app import build
from consent_kafka.transport.chunk_app import ChunkApp
from consent_kafka.transport.metrics import TransportMetrics
from consent_kafka.transport.worker import EXIT_RESTART, run

__all__ = [
    "EXIT_RESTART",
    "Chunk",
    "ChunkApp",
    "Ownership",
    "PartitionHandler",
    "PartitionStuckError",
    "Record",
    "StreamSpec",
    "TransportMetrics",
    "build",
    "run",
]
