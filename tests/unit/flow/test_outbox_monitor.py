"""A relay that turns and publishes nothing of what waits says so; not one whose rows are refused, or another's."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.monitor import Watch
from consent_api.outbox_relay.outbox_table import Backlog
from consent_runtime.observability import Health
from consent_runtime.progress import Progress

BOUND = 60.0


class Desk:
    """A watch over an outbox that holds what a test says."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.health = Health()
        self.progress = Progress(bound=BOUND, clock=lambda: self.now)
        self.refused = 0
        self.found: Backlog | None = None
        self.watch = Watch(
            outbox=self,  # type: ignore[arg-type]
            metrics=RelayMetrics.on(CollectorRegistry()),
            health=self.health,
            progress=self.progress,
            stalled_after=BOUND,
            set_aside=lambda: self.refused,
        )

    def backlog(self) -> Backlog:
        if self.found is None:
            raise OperationalError("", {}, Exception())
        return self.found

    def passes(self, seconds: int, *, pending: int, oldest: float) -> list[str]:
        """What is said at the end of so many looks, one a second."""
        for _ in range(seconds):
            self.now += 1
            self.found = Backlog(pending=pending, oldest_seconds=oldest)
            self.watch.look()
        return self.health.check()[1]


def test_an_idle_relay_is_ready() -> None:  # R41
    assert Desk().passes(1_000, pending=0, oldest=0.0) == []


def test_old_rows_of_which_none_is_published_are_a_reason_until_one_is() -> None:  # R41
    desk = Desk()
    assert desk.passes(60, pending=3, oldest=90.0) == []
    assert desk.passes(5, pending=3, oldest=90.0) == ["outbox: 3 rows wait, and none was published for 65 s"]
    desk.progress.moved()
    assert desk.passes(1, pending=2, oldest=90.0) == []


def test_rows_that_another_relay_publishes_are_none() -> None:
    assert Desk().passes(1_000, pending=2_000, oldest=0.4) == []


def test_rows_that_the_broker_refuses_are_none() -> None:
    desk = Desk()
    desk.refused = 2
    assert desk.passes(1_000, pending=2, oldest=5_000.0) == []


def test_while_the_database_is_away_the_relay_itself_speaks() -> None:
    desk = Desk()
    desk.watch.look()
    assert desk.health.check() == (True, [])
