"""What a process holds, second by second."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

PERIOD_SECONDS = 1.0
MEASURES = ("memory", "handles", "threads")
STATE_MEMORY = "consent_relay_state_memory_bytes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Points of (seconds since the start, value), by what was measured."""

    of_processes: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """By process and measure: resident memory in MB without what RocksDB keeps of tables, which grows to a limit; open
    files and connections without RocksDB's tables; threads."""
    checks: list[tuple[float, float]] = field(default_factory=list)
    """What one question to the gate took, seconds."""


@contextmanager
def sampled(pids: Mapping[str, int], with_state: Mapping[str, str], check: Callable[[], None]) -> Iterator[Samples]:
    """Measure these processes and the time of `check` while the block runs. `with_state`: of the processes with local
    state, the address of their metrics. What fails meanwhile, a process that has ended above all, is raised at the end
    of the block."""
    found, stopping, failures = Samples(), threading.Event(), list[Exception]()
    processes = {name: psutil.Process(pid) for name, pid in pids.items()}
    began = time.monotonic()

    def sample() -> None:
        while not stopping.wait(PERIOD_SECONDS):
            try:
                _take(found, processes, with_state, check, began)
            except Exception as error:
                failures.append(error)
                return

    thread = threading.Thread(target=sample, name="samples")
    thread.start()
    try:
        yield found
    finally:
        stopping.set()
        thread.join()
    if failures:
        raise failures[0]


def _take(
    found: Samples,
    processes: Mapping[str, psutil.Process],
    with_state: Mapping[str, str],
    check: Callable[[], None],
    began: float,
) -> None:
    at = time.monotonic() - began
    for name, process in processes.items():
        tables = _table_bytes(with_state[name]) if name in with_state else 0.0
        memory = (process.memory_info().rss - tables) / 1e6
        held = (memory, float(_handles(process)), float(process.num_threads()))
        for measure, value in zip(MEASURES, held, strict=True):
            found.of_processes[name, measure].append((at, value))
    asked = time.perf_counter()
    check()
    found.checks.append((at, time.perf_counter() - asked))


def _table_bytes(metrics: str) -> float:
    """What RocksDB keeps of the process's tables: rows to be written, and blocks that were read."""
    text = httpx.get(metrics, params={"name[]": STATE_MEMORY}, timeout=10).raise_for_status().text
    [family] = [each for each in text_string_to_metric_families(text) if each.name == STATE_MEMORY]
    return float(family.samples[0].value)


def _handles(process: psutil.Process) -> int:
    """Without the table files of RocksDB: their number rises until they are put together, at four of each partition."""
    return process.num_fds() - sum(file.path.endswith(".sst") for file in process.open_files())
