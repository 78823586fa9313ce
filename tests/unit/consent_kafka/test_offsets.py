"""No answer, an error and librdkafka's mark of an unknown offset are one thing to the caller. # R63"""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, KafkaError, KafkaException

from consent_kafka.offsets import offset_in


def answered(offset: int) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(SimpleNamespace(offset=offset))
    return future


@pytest.mark.parametrize("offset", [0, 7])
def test_an_offset_is_returned(offset: int) -> None:
    assert offset_in(answered(offset)) == offset


@pytest.mark.parametrize("unknown", [OFFSET_INVALID, OFFSET_END, OFFSET_BEGINNING, -1])
def test_a_mark_is_no_offset(unknown: int) -> None:
    with pytest.raises(KafkaException):
        offset_in(answered(unknown))


def test_neither_is_an_error_or_silence() -> None:
    failed: Future[Any] = Future()
    failed.set_exception(KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE)))
    for future in (failed, Future[Any]()):
        with pytest.raises(KafkaException):
            offset_in(future, timeout=0.0)
