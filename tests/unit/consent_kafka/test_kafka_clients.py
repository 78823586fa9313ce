"""What every producer of ours writes, any client can read."""

from __future__ import annotations

import time
from typing import Any

import pytest

from consent_kafka import clients
from consent_kafka.batches import batch_reader


def test_nothing_of_ours_is_compressed(monkeypatch: pytest.MonkeyPatch) -> None:  # R24
    configured: list[dict[str, Any]] = []
    monkeypatch.setattr(clients, "Producer", lambda config, **_: configured.append(config))
    clients.producer("localhost:1")
    clients.transactional_producer("localhost:1", "id")
    assert [each["compression.type"] for each in configured] == ["none", "none"]


def test_a_batch_that_cannot_be_looked_at_ends_no_reader() -> None:
    unknown_to_aiokafka = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "none that there is"}

    read = batch_reader("127.0.0.1:1", lambda: unknown_to_aiokafka)

    assert read("topic", 0, 0) is None


@pytest.mark.long
def test_a_client_that_cannot_connect_writes_a_line_of_each_kind_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    found: Any = clients.consumer("127.0.0.1:1", "group", reconnect_backoff_ms=1, reconnect_backoff_max_ms=1)
    try:
        deadline = time.monotonic() + 30
        while "FAIL" not in caplog.text and time.monotonic() < deadline:
            found.poll(0.1)
        found.poll(1.0)
    finally:
        found.close()
    kinds = [record.getMessage().partition(" ")[0] for record in caplog.records if record.name == clients.log.name]
    assert "FAIL" in kinds
    assert len(kinds) == len(set(kinds))
