"""What every producer of ours writes, any client can read."""

from __future__ import annotations

from typing import Any

import pytest

from consent_runtime import kafka


def test_nothing_of_ours_is_compressed(monkeypatch: pytest.MonkeyPatch) -> None:  # R24
    configured: list[dict[str, Any]] = []
    monkeypatch.setattr(kafka, "Producer", lambda config, **_: configured.append(config))
    kafka.producer("localhost:1")
    kafka.transactional_producer("localhost:1", "id")
    assert [each["compression.type"] for each in configured] == ["none", "none"]
