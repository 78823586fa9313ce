"""What the lag process says: how far each consumer group is behind, and how old that knowledge is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge

from .lag import Lag

_LABELS = ("group", "topic", "partition")


@dataclass(frozen=True, kw_only=True, slots=True)
class LagMetrics:
    """Build with `on(registry, ...)`. Labels: our own groups and topics, and partition numbers."""

    records: Gauge
    seconds: Gauge
    groups: Gauge
    looks: Counter
    _shown: set[tuple[str, str, str]] = field(default_factory=set)

    @classmethod
    def on(cls, registry: CollectorRegistry, *, age_seconds: Callable[[], float]) -> LagMetrics:
        """`age_seconds` says how long ago the last complete look was."""
        Gauge(
            "consent_relay_consumer_lag_scrape_age_seconds",
            "Age of the lag figures. Growing: the broker does not answer, and the figures are those of before.",
            registry=registry,
        ).set_function(age_seconds)
        return cls(
            records=Gauge(
                "consent_relay_consumer_lag_records",
                "Offsets between what the group has committed and the end of the partition: how much is left to do, "
                "at most (transaction markers and compacted records count). 0: nothing is left to read.",
                _LABELS,
                registry=registry,
            ),
            seconds=Gauge(
                "consent_relay_consumer_lag_seconds",
                "Age of the oldest record the group has not committed. Growing by a second a second: it stands still.",
                _LABELS,
                registry=registry,
            ),
            groups=Gauge(
                "consent_relay_consumer_lag_groups",
                "Consumer groups of ours that the broker knows. Fewer than usual: a service has never run, or a group "
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

    def show(self, lags: Iterable[Lag]) -> None:
        """Exactly these; what has vanished from the broker is shown no more."""
        now = set()
        for lag in lags:
            labels = (lag.group, lag.topic, str(lag.partition))
            now.add(labels)
            self.records.labels(*labels).set(lag.records)
            self.seconds.labels(*labels).set(lag.seconds)
        for gone in self._shown - now:
            self.records.remove(*gone)
            self.seconds.remove(*gone)
        self._shown.clear()
        self._shown.update(now)
        self.groups.set(len({labels[0] for labels in now}))
