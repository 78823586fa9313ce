"""What every producer of ours writes, any client can read."""

from __future__ import annotations

from typing import Any

import pytest

from consent_runtime import kafka
from consent_runtime.batches import batch_reader


def test_nothing_of_ours_is_compressed(monkeypatch: pytest.MonkeyPatch) -> None:  # R24
    configured: list[dict[str, Any]] = []
    monkeypatch.setattr(kafka, "Producer", lambda config, **_: configured.append(config))
    kafka.producer("localhost:1")
    kafka.transactional_producer("localhost:1", "id")
    assert [each["compression.type"] for each in configured] == ["none", "none"]


def test_a_batch_that_cannot_be_looked_at_ends_no_reader() -> None:
    unknown_to_aiokafka = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "none that there is"}

    read = batch_reader("127.0.0.1:1", lambda: unknown_to_aiokafka)

    assert read("topic", 0, 0) is None
