"""What happens in the tables and to the active sender, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from consent_state import RebuildReason
from propagator.metrics import Metrics
from propagator.state.committer import OutgoingRecord
from propagator.state.metrics import StateMetrics


class StateEvents:
    """Implements the events of tables, reader and active sender. Safe to call from any thread."""

    def __init__(self, metrics: Metrics, state: StateMetrics) -> None:
        self._metrics = metrics
        self._state = state

    def active(self, active: bool) -> None:
        """A term as the active sender has begun, or ended."""
        self._state.active_sender.set(active)

    def transaction(self, records: Sequence[OutgoingRecord]) -> None:
        """Rows and these other records were committed."""
        self._state.transactions.inc()
        receipts = Counter(record.receipt for record in records if record.receipt is not None)
        for (destination, stage), count in receipts.items():
            self._metrics.receipts.labels(destination, stage).inc(count)

    def too_large(self, destination: str, record: str) -> None:
        """The broker refused a row or receipt for its size."""
        self._state.too_large.labels(destination, record).inc()

    def fill_began(self, destination: str, reason: str) -> None:
        """Everything at this destination is unknown from now on."""
        self._state.fills.labels(destination, reason).inc()

    def rebuilt(self, reason: RebuildReason) -> None:
        """A partition's tables are restored from the topics."""
        self._state.rebuilds.labels(reason.value).inc()

    def planning_failed(self, destination: str) -> None:
        """An exception while one address was planned."""
        self._state.planning_failures.labels(destination).inc()

    def entry_unreadable(self, destination: str, reason: str) -> None:
        """An entry went to the dead letters."""
        self._metrics.unreadable.labels(destination, reason).inc()

    def delivered_unreadable(self, destination: str) -> None:
        """A row of the state topic cannot be read."""
        self._state.unreadable_rows.labels(destination).inc()

    def schema_missing(self, destination: str, partitions: int) -> None:
        """In so many partitions entries wait for the schema registry."""
        self._metrics.schemas_missing.labels(destination).set(partitions)
