"""An admin client that answers questions about offsets as a test sets it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import confluent_kafka


class Admin:
    """Answers each partition with the offset given."""

    def __init__(self, *offsets: int) -> None:
        self.offsets = list(offsets)
        self.is_closed = False

    def list_offsets(self, asked: Mapping[confluent_kafka.TopicPartition, Any], **_: Any) -> dict[Any, Future[Any]]:
        answers: dict[Any, Future[Any]] = {}
        for at, offset in zip(asked, self.offsets, strict=True):
            answers[at] = Future()
            answers[at].set_result(SimpleNamespace(offset=offset))
        return answers

    def poll(self, _: float) -> None: ...

    def close(self) -> None:
        self.is_closed = True
