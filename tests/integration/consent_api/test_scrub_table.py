"""One part that cannot be compared keeps no other from being compared. # R64"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from consent_api.errors import ListUnreadableError
from consent_api.ledger.tables import GRANTS
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
        self.time = 0.0
        self.registry = CollectorRegistry()
        self.loop = ScrubLoop(
            table=self.table,
            opened=self.opened,
            writer=lambda pause: SimpleNamespace(),  # type: ignore[arg-type,return-value]
            metrics=ScrubMetrics.on(self.registry),
            period_seconds=0.001,
            clock=lambda: self.time,
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

    def age(self) -> float | None:
        return self.registry.get_sample_value("consent_relay_scrub_last_pass_age_seconds")


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


@pytest.fixture
def revoke(owner_engine: Engine, engine: Engine) -> Iterator[Callable[[str], None]]:
    """Takes a right on the comparison's table from the role of the services, until the end of the test."""

    def run(statement: str) -> None:
        with owner_engine.begin() as connection:
            connection.execute(text(statement))

    yield lambda right: run(f"REVOKE {right} ON list_scrub FROM {engine.url.username}")
    run(f"GRANT {GRANTS['list_scrub']} ON list_scrub TO {engine.url.username}")


def test_the_age_of_the_last_pass_grows_while_no_pass_ends(
    scrubbing: Scrub, owner_engine: Engine, revoke: Callable[[str], None]
) -> None:
    for _ in range(4):
        scrubbing.step()
    scrubbing.time += 1_000.0
    assert scrubbing.age() == 1_000.0  # No pass is known of: since the relay started.
    scrubbing.unreadable.clear()
    for _ in range(4):
        scrubbing.step()
    assert scrubbing.age() == pytest.approx(0.0, abs=60.0)
    revoke("UPDATE")
    with owner_engine.begin() as connection:
        connection.execute(text("UPDATE list_scrub SET completed_at = completed_at - 2000000000"))
    with pytest.raises(ProgrammingError):
        scrubbing.step()
    assert scrubbing.age() == pytest.approx(2_000.0, abs=60.0)  # It may read what it may not write.
    revoke("SELECT")
    with pytest.raises(ProgrammingError):
        scrubbing.step()
    scrubbing.time += 1_000.0
    assert scrubbing.age() == pytest.approx(3_000.0, abs=60.0)  # It knows of no pass since.
