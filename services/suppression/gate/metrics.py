"""What the gate says about itself."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from consent_client import SuppressionView

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class GateMetrics:
    """Build with `on(registry)`. Labels: configured channels, the fixed reason codes, status codes."""

    answers: Counter
    check_seconds: Histogram
    refused: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry) -> "GateMetrics":
        """Declare them on `registry`."""
        return cls(
            answers=Counter(
                "consent_relay_gate_answers",
                "Addresses answered, by channel, by whether contact was permitted, and by reason. A rise of stale "
                "means that the gate has lost Kafka and stops all sending; of unreadable, that somebody writes "
                "what we cannot read; of unavailable, that keys are missing or being rotated.",
                ["channel", "permitted", "reason"],
                registry=registry,
            ),
            check_seconds=Histogram(
                "consent_relay_gate_check_seconds",
                "Time to answer one request, from its body having been read to its answer being ready, by size: "
                "one (1 address), many (up to 1,000) or bulk.",
                ["size"],
                registry=registry,
                buckets=_SECONDS,
            ),
            refused=Counter(
                "consent_relay_gate_refused",
                "Requests that got no answers, by HTTP status: the caller's fault (4xx), or the keys file cannot "
                "be read (503).",
                ["status"],
                registry=registry,
            ),
        )


class ViewMetrics(Collector):
    """The state of the views, read when somebody looks."""

    def __init__(self, views: Iterable[SuppressionView]) -> None:
        self._views = tuple(views)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        usable = GaugeMetricFamily(
            "consent_relay_gate_view_usable",
            "1 while the gate answers from this channel's list; 0 while it is loading or stale and denies all.",
            labels=["channel"],
        )
        age = GaugeMetricFamily(
            "consent_relay_gate_view_age_seconds",
            "How long ago all that was committed at that time was in this channel's list. Grows when the broker "
            "is away or the gate falls behind; beyond CONSENT_RELAY_GATE_STALE_AFTER every answer is no.",
            labels=["channel"],
        )
        entries = GaugeMetricFamily(
            "consent_relay_gate_view_entries", "Addresses on this channel's list.", labels=["channel"]
        )
        unreadable = GaugeMetricFamily(
            "consent_relay_gate_view_unreadable_entries",
            "Addresses whose newest entry cannot be read and which are denied for that. Should be 0: look for "
            "`an entry cannot be read` in the log, and who else writes to the topic.",
            labels=["channel"],
        )
        for view in self._views:
            state = view.state
            usable.add_metric([view.channel], state.usable)
            if state.age_seconds is not None:
                age.add_metric([view.channel], state.age_seconds)
            entries.add_metric([view.channel], state.entries)
            unreadable.add_metric([view.channel], state.unreadable)
        return [usable, age, entries, unreadable]
