"""Kafka in, crash-safe: Faust with one event per fetched partition chunk.

A chunk is acknowledged as a range, explicitly, after all its effects; commits never pass the oldest range that is
not. See docs/decisions/ for why not stock Faust.
"""

from .app import build
from .chunk_app import ChunkApp
from .contract import Chunk, Ownership, PartitionHandler, Record, Stream
from .metrics import TransportMetrics
from .session import SessionStuck
from .worker import run

__all__ = [
    "Chunk",
    "ChunkApp",
    "Ownership",
    "PartitionHandler",
    "Record",
    "SessionStuck",
    "Stream",
    "TransportMetrics",
    "build",
    "run",
]
