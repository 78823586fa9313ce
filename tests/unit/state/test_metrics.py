"""How full the disk of local state is, and what of it is in memory."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consent_state import StateStoreMetrics
from tests.unit.state.damage import opened

FREE, SIZE = "consent_relay_state_disk_free_bytes", "consent_relay_state_disk_size_bytes"


def test_a_directory_that_does_not_exist_yet_is_measured_where_it_will_be_made(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    StateStoreMetrics.on(registry, tmp_path / "not" / "yet")
    size, free = registry.get_sample_value(SIZE), registry.get_sample_value(FREE)
    assert size == shutil.disk_usage(tmp_path).total
    assert free is not None
    assert 0 < free <= size


def test_a_disk_that_cannot_be_read_is_nan_and_spoils_no_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path) -> None:
        raise OSError(5, "Input/output error")

    registry = CollectorRegistry()
    StateStoreMetrics.on(registry, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", broken)
    assert math.isnan(registry.get_sample_value(FREE) or 0.0)


def test_what_the_stores_keep_in_memory_is_counted_while_they_are_open(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    StateStoreMetrics.on(registry, tmp_path)

    def in_memory() -> float:
        return registry.get_sample_value("consent_relay_state_memory_bytes") or 0.0

    before = in_memory()
    stores = [opened(tmp_path / name) for name in ("0", "1")]
    batch = stores[0].batch()
    for number in range(1_000):
        batch.put(b"%d" % number, bytes(1_000))
    empty = in_memory()
    stores[0].write(batch)
    assert in_memory() - empty >= 1_000_000
    for store in stores:
        store.close()
    assert in_memory() == before
