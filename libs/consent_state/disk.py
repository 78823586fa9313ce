"""How full the disk of a process's local state is, for Prometheus."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Self

from prometheus_client import CollectorRegistry, Gauge


@dataclass(frozen=True, kw_only=True, slots=True)
class StateDiskMetrics:
    """Of one process with local state; both are read when they are scraped."""

    free: Gauge
    size: Gauge

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
        )
        metrics.free.set_function(partial(_usage, directory, "free"))
        metrics.size.set_function(partial(_usage, directory, "total"))
        return metrics


def _usage(directory: Path, what: Literal["free", "total"]) -> float:
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        return float(getattr(shutil.disk_usage(directory), what))
    except OSError:
        return math.nan
