"""What the tables and the active sender count. Prefix consent_relay_, labels bounded by the destinations file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from consent_service.zero_series import from_zero
from consent_state import RebuildReason


@dataclass(frozen=True, kw_only=True, slots=True)
class StateMetrics:
    """Built once, on the registry that /metrics serves."""

    active_sender: Gauge
    clock_offset: Gauge
    transactions: Counter
    too_large: Counter
    fills: Counter
    rebuilds: Counter
    planning_failures: Counter
    unreadable_rows: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry, *, propagator: str, destinations: Collection[str] = ()) -> StateMetrics:
        """The metrics, registered. `propagator`: its name. `destinations`: the names in the destinations file."""
        metrics = cls(
            active_sender=Gauge(
                "consent_relay_propagation_active_sender",
                "1 while this process is the active sender of the propagator of this name"
                " (CONSENT_RELAY_PROPAGATOR_NAME); its standbys export 0. A sum by name other than 1 for longer than a"
                " session time-out: nothing is sent to the destinations of that propagator.",
                ("propagator",),
                registry=registry,
            ).labels(propagator),
            clock_offset=Gauge(
                "consent_relay_propagation_clock_offset_seconds",
                "Seconds by which this process's clock is certainly ahead of the brokers' (negative: behind), by the"
                " append times of what it reads. Beyond 2 s the process is not ready: synchronise both hosts (NTP)."
                " NaN: nothing was read yet.",
                registry=registry,
            ),
            transactions=Counter(
                "consent_relay_propagation_transactions_total",
                "Transactions with delivered state and receipts that were committed: four a second at most, and one for"
                " each permission.",
                registry=registry,
            ),
            too_large=Counter(
                "consent_relay_propagation_records_too_large_total",
                "Records that the broker refused for their size, by kind. row: what the destination took is not kept,"
                " so the address is delivered again every ten minutes, and gets no permission. receipt: it is missing."
                " Compare max.message.bytes of the topic with what `topics apply` sets.",
                ("destination", "record"),
                registry=registry,
            ),
            fills=Counter(
                "consent_relay_propagation_fills_total",
                "Fills that began, by reason: new_destination (or the state topic was created again), generation"
                " (raised in the destinations file), lost_state (the state topic lost records), lost_records (Kafka"
                " has lost records of the list).",
                ("destination", "reason"),
                registry=registry,
            ),
            rebuilds=Counter(
                "consent_relay_propagation_state_rebuilds_total",
                "Partitions whose local tables were restored from the topics, by reason: absent (first start),"
                " corrupted, locked, format, too_old, topic_recreated, out_of_range.",
                ("reason",),
                registry=registry,
            ),
            planning_failures=Counter(
                "consent_relay_propagation_planning_failures_total",
                "Times the plan of one address failed. The address stays pending and is planned again every few"
                " seconds; the others go on. A steady rate is a bug: read the log.",
                ("destination",),
                registry=registry,
            ),
            unreadable_rows=Counter(
                "consent_relay_propagation_unreadable_rows_total",
                "Rows of the state topic that could not be read: what was delivered counts as unknown and is sent"
                " again.",
                ("destination",),
                registry=registry,
            ),
        )
        from_zero(metrics.too_large, destinations, ("row", "receipt"))
        from_zero(metrics.fills, destinations, ("new_destination", "generation", "lost_state", "lost_records"))
        from_zero(metrics.rebuilds, RebuildReason)
        from_zero(metrics.planning_failures, destinations)
        from_zero(metrics.unreadable_rows, destinations)
        return metrics
