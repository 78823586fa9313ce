"""How full the disk of a process's local state is, and what of the state is in memory, for Prometheus."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Self

from prometheus_client import CollectorRegistry, Gauge

from consent_state.store import StateStore


@dataclass(frozen=True, kw_only=True, slots=True)
class StateStoreMetrics:
    """Of one process with local state; all are read when they are scraped."""

    free: Gauge
    size: Gauge
    memory: Gauge

    @classmethod
    def on(cls, registry: CollectorRegistry, directory: Path) -> Self:
        """`directory`: that of the state. Until it exists, the one in which it is going to be made is measured."""
        metrics = cls(
            free=Gauge(
                "consent_relay_state_disk_free_bytes",
                "Bytes that this process may still write on the file system of its state directory. NaN: it cannot be"
                " read. At 0 the process restores its state from Kafka again and again.",
                registry=registry,
            ),
            size=Gauge(
                "consent_relay_state_disk_size_bytes",
                "Size of the file system of the state directory.",
                registry=registry,
            ),
            memory=Gauge(
                "consent_relay_state_memory_bytes",
                "What the process keeps of its state in memory: rows that are not on disk yet, and blocks that were"
                " read. Merge: up to 48 MiB a partition, 80 while rows are being written to disk; propagator: up to 64"
                " MiB, and 96.",
                registry=registry,
            ),
        )
        metrics.free.set_function(partial(_usage, directory, "free"))
        metrics.size.set_function(partial(_usage, directory, "total"))
        metrics.memory.set_function(StateStore.all_memory_bytes)
        return metrics


def _usage(directory: Path, what: Literal["free", "total"]) -> float:
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        return float(getattr(shutil.disk_usage(directory), what))
    except OSError:
        return math.nan
