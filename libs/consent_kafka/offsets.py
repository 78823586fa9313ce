"""Reads what brokers answer to an admin client."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

T = TypeVar("T")


def answer_in(future: Future[T], *, timeout: float | None = None) -> T:
    """Waits so many seconds. Raises KafkaException where there is no answer."""
    try:
        return future.result(timeout)
    except FutureTimeoutError as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error


def offset_in(future: Future[Any], *, timeout: float | None = None) -> int:
    """The offset in an answer of `list_offsets`. Raises KafkaException where there is none: also for a negative one,
    which is no place in a topic; a client of a busy broker gives -1001 without an error."""
    offset = int(answer_in(future, timeout=timeout).offset)
    if offset < 0:
        raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
    return offset
