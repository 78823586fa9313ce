"""The metrics of the lag process: how far each consumer group lags, and how old that knowledge is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge

from consent_service.zero_series import from_zero
from lag_exporter.lag import LagSnapshot
from lag_exporter.resolved import PartitionResolved, ages, holes

_LABELS = ("group", "topic", "partition")


@dataclass(frozen=True, kw_only=True, slots=True)
class LagMetrics:
    """Build with `on(registry, ...)`. Labels: our own groups and topics, and partition numbers."""

    records: Gauge
    seconds: Gauge
    stable: Gauge
    resolved_age: Gauge
    holes: Gauge
    groups: Gauge
    looks: Counter
    _shown: dict[Gauge, set[tuple[str, ...]]] = field(default_factory=dict)

    @classmethod
    def on(cls, registry: CollectorRegistry, *, age_seconds: Callable[[], float]) -> LagMetrics:
        """`age_seconds` gives how long ago the last complete read was."""
        Gauge(
            "consent_relay_consumer_lag_scrape_age_seconds",
            "Age of the lag figures. Growing: the broker does not answer, and the figures are those of before.",
            registry=registry,
        ).set_function(age_seconds)
        metrics = cls(
            records=Gauge(
                "consent_relay_consumer_lag_records",
                "Offsets between what the group has committed and the high watermark of the partition: how much is "
                "left to do, at most (transaction markers and compacted records count, and so do records that an open "
                "transaction hides). 0: nothing is left to read. Absent: the broker does not answer, or not for that "
                "partition.",
                _LABELS,
                registry=registry,
            ),
            seconds=Gauge(
                "consent_relay_consumer_lag_seconds",
                "Age of the oldest record the group has not committed. Growing by a second a second: it is stuck.",
                _LABELS,
                registry=registry,
            ),
            stable=Gauge(
                "consent_relay_last_stable_offset_stalled_seconds",
                "For how long the last stable offset of a partition is stuck below the high watermark: a client "
                "left a transaction open, and no reader of committed records sees what follows. Above 60: find and "
                "abort it (docs/runbooks.md). Readers deny meanwhile.",
                ("topic", "partition"),
                registry=registry,
            ),
            resolved_age=Gauge(
                "consent_relay_list_resolved_age_seconds",
                "How old the list is for a reader of it now, by partition and lane (live, bulk; inbound_live: what "
                "ingest has recorded): is anything between ledger and list dead? Growing by a second a second while "
                "consent_relay_api_resolved_age_seconds does not: the merge. Above 30 s (live) readers deny. Absent: a "
                "hole, nothing was published yet, or the broker does not answer.",
                ("partition", "lane"),
                registry=registry,
            ),
            holes=Gauge(
                "consent_relay_list_holes_open",
                "1 for each hole that readers of the list see, by partition and scope (all, or one channel): has Kafka "
                "lost records that are not published again yet? Readers deny for that partition meanwhile.",
                ("partition", "scope"),
                registry=registry,
            ),
            groups=Gauge(
                "consent_relay_consumer_lag_groups",
                "Consumer groups of ours that the broker knows; NaN: it does not answer. Fewer than usual: a service "
                "has never run, or a group "
                "has been forgotten.",
                registry=registry,
            ),
            looks=Counter(
                "consent_relay_consumer_lag_scrapes",
                "Looks at the broker by outcome: done, failed.",
                ("outcome",),
                registry=registry,
            ),
        )
        from_zero(metrics.looks, ("done", "failed"))
        return metrics

    def show(self, snapshot: LagSnapshot) -> None:
        """Exactly this; what has vanished from the broker is shown no more."""
        at = {(lag.group, lag.topic, str(lag.partition)): lag for lag in snapshot.lags}
        self._set(self.records, {labels: lag.records for labels, lag in at.items()})
        self._set(self.seconds, {labels: lag.seconds for labels, lag in at.items()})
        self._set(self.stable, {(at.topic, str(at.partition)): each for at, each in snapshot.stable_seconds.items()})
        self.groups.set(len({lag.group for lag in snapshot.lags}))

    def show_resolved(self, partitions: Mapping[int, PartitionResolved], now: int) -> None:
        """How old the list is at `now`, micros since the epoch."""
        self._set(self.resolved_age, ages(partitions, now))
        self._set(self.holes, dict.fromkeys(holes(partitions), 1.0))

    def withdraw(self) -> None:
        """The broker has not answered for too long: show nothing rather than how things were."""
        for gauge in (self.records, self.seconds, self.stable, self.resolved_age, self.holes):
            self._set(gauge, {})
        self.groups.set(math.nan)

    def _set(self, gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
        for labels, value in values.items():
            gauge.labels(*labels).set(value)
        for gone in self._shown.get(gauge, set()) - values.keys():
            gauge.remove(*gone)
        self._shown[gauge] = set(values)
