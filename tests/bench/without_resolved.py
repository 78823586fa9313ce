"""`consent-relay` without resolved timestamps, to measure what they cost.

`python -m tests.bench.without_resolved relay`, or `suppression`. The relay takes no turns, so it publishes no
timestamps; the merge neither passes any on nor compares its positions with the topics. All else is as it is.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from consent_api.outbox_relay.turn_loop import TurnLoop
from consent_service.cli import cli
from suppression.resolved.publisher import ResolvedPublisher


def _take_none(self: Any, stop: threading.Event) -> None:
    while not stop.wait(1.0):
        self._health.heartbeat(self._name)


async def _wait_for_ever(self: Any) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    TurnLoop.run = _take_none  # type: ignore[method-assign]
    ResolvedPublisher.publish = ResolvedPublisher.watch = _wait_for_ever  # type: ignore[method-assign]
    cli()
