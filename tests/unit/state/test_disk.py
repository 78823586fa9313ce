"""How full the disk of local state is."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consent_state import StateDiskMetrics

FREE, SIZE = "consent_relay_state_disk_free_bytes", "consent_relay_state_disk_size_bytes"


def test_a_directory_that_does_not_exist_yet_is_measured_where_it_will_be_made(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    StateDiskMetrics.on(registry, tmp_path / "not" / "yet")
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
    StateDiskMetrics.on(registry, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", broken)
    assert math.isnan(registry.get_sample_value(FREE) or 0.0)
