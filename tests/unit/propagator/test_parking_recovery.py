"""What is parked is read again however long it takes, whoever of those it takes is away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from consent_contracts.errors import RegistryUnavailable, Unreadable
from propagator import parking
from propagator.parking import Parking


class OneRecord:
    """A consumer of topics that hold one record each."""

    def __init__(self, key: bytes, value: bytes) -> None:
        self._record = SimpleNamespace(key=lambda: key, value=lambda: value, offset=lambda: 0, error=lambda: None)
        self._end = SimpleNamespace(error=lambda: SimpleNamespace(code=lambda: KafkaError._PARTITION_EOF))
        self._left: list[Any] = []

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, 1

    def assign(self, _: Any) -> None:
        self._left = [self._record, self._end]

    def consume(self, **_: Any) -> list[Any]:
        return [self._left.pop(0)]

    def close(self) -> None:
        pass


class Codec:
    """Answers of `decode`, one after the other."""

    def __init__(self, *answers: Exception) -> None:
        self._answers = list(answers)

    def decode(self, _topic: str, _data: bytes | None) -> dict[str, Any]:
        raise self._answers.pop(0)


async def test_a_registry_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "RETRY_SECONDS", 0.0)
    codec: Any = Codec(RegistryUnavailable("away"), RegistryUnavailable("away"), Unreadable("unknown_schema", "none"))
    parked = Parking(
        codec,
        topic="propagation.parked.v1",
        source="suppression.sms.v1",
        destination="crm",
        partition=0,
        ownership=SimpleNamespace(fresh=lambda: True),
        producer=lambda: pytest.fail("nothing is to be written"),
        consumer=lambda: OneRecord(b"crm|h1.key", b"\x00\x77\x00\x00\x00"),  # type: ignore[arg-type,return-value]
    )
    # The record says by its key alone which address to push again.
    assert [each.address_key for each in await parked.recover()] == ["h1.key"]
