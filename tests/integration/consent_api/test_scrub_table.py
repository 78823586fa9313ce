"""One part that cannot be compared keeps no other from being compared. # R64"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from consent_api.errors import ListUnreadableError
from consent_api.operations.verify.ledger_entries import Slice
from consent_api.operations.verify.metrics import ScrubMetrics
from consent_api.operations.verify.scrub import ScrubLoop
from consent_api.operations.verify.scrub_table import ScrubTable

SLICES = (Slice(channel="sms"), Slice(channel="email"), Slice(channel="voice", number=1, of=2))


class Scrub:
    """A scrub whose comparisons fail for the channels in `unreadable`."""

    def __init__(self, engine: Engine) -> None:
        self.compared: list[str] = []
        self.unreadable = {"sms"}
        self.table = ScrubTable(engine, relay="r1")
        self.loop = ScrubLoop(
            table=self.table,
            opened=self.opened,
            writer=lambda pause: SimpleNamespace(),  # type: ignore[arg-type,return-value]
            metrics=ScrubMetrics.on(CollectorRegistry()),
            period_seconds=0.001,
        )

    @contextmanager
    def opened(self, pause: Any, pace: Any) -> Iterator[Any]:
        yield SimpleNamespace(slices=SLICES, verification=SimpleNamespace(check=self.check))

    def check(self, part: Slice, summary: Any) -> Iterator[Any]:
        if part.channel in self.unreadable:
            raise ListUnreadableError(part.channel)
        self.compared.append(part.channel)
        return iter(())

    def step(self) -> None:
        try:
            self.loop.step()
        except ListUnreadableError:
            self.compared.append("failed")


@pytest.fixture
def scrubbing(engine: Engine) -> Scrub:
    return Scrub(engine)


def completed(scrubbing: Scrub) -> int | None:
    state = scrubbing.table.read()
    assert state is not None
    return state.completed_at


def test_the_others_are_compared_pass_after_pass_and_none_counts_as_complete(scrubbing: Scrub) -> None:
    for _ in range(8):
        scrubbing.step()
    assert scrubbing.compared == ["failed", "email", "voice"] * 2
    assert completed(scrubbing) is None
    scrubbing.unreadable.clear()
    for _ in range(4):
        scrubbing.step()
    assert scrubbing.compared[6:] == ["sms", "email", "voice"]
    assert completed(scrubbing) is not None


def test_another_relay_defers_nothing(scrubbing: Scrub, engine: Engine) -> None:
    scrubbing.step()
    assert ScrubTable(engine, relay="r2").defer() is None
    state = scrubbing.table.read()
    assert state is not None
    assert state.slices == SLICES
