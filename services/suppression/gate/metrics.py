"""What the gate says about itself."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from consent_client import SuppressionView
from consent_client.answers import HINDRANCES
from consent_client.registers import Registers
from consent_contracts.decisions import GIVEN, STATUSES
from consent_contracts.verdict import EXPIRED, UNDELIVERABLE, UNKNOWN
from consent_service.zero_series import from_zero

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_DENIALS = {
    *(STATUSES - {GIVEN}),
    *HINDRANCES,
    UNDELIVERABLE,
    UNKNOWN,
    EXPIRED,
    *("future_dated", "unreadable", "invalid_address", "unavailable"),
}
"""The reasons of `consent_client.Answer` that deny."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateMetrics:
    """Build with `on(registry)`. Labels: configured channels, the fixed reason codes, status codes."""

    answers: Counter
    check_seconds: Histogram
    refused: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry, *, channels: Collection[str] = ()) -> "GateMetrics":
        """Declare them on `registry`. `channels`: those that are answered."""
        metrics = cls(
            answers=Counter(
                "consent_relay_gate_answers",
                "Addresses answered, by channel, by whether contact was permitted, and by reason. A rise of stale "
                "means that the ledger does not reach the gate, which stops sending: /readyz names the stage; of hole, "
                "that Kafka has lost records, which are being published again; of unreadable, that another client "
                "writes what we cannot read; of unavailable, that keys are missing or being rotated.",
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
        from_zero(metrics.check_seconds, SIZES)
        from_zero(metrics.answers, channels, ("true",), (GIVEN, "allow_once"))
        from_zero(metrics.answers, channels, ("false",), _DENIALS)
        return metrics


SIZES = ("one", "many", "bulk")
"""Of requests: 1 address, up to 1,000, more."""

STAGES = ("unknown", "stale", "inbound_stale", "bulk_stale", "hole")
"""Why a partition is not answered from, as `consent_kafka.resolved` names it."""


class ViewMetrics(Collector):
    """The state of the views, read at each scrape."""

    def __init__(self, views: Iterable[SuppressionView]) -> None:
        """`views` share their timestamps."""
        self._views = tuple(views)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        usable = GaugeMetricFamily(
            "consent_relay_gate_view_usable",
            "1 while the gate answers for every address of this channel; 0 while it denies some or all: it is loading, "
            "or view_hindered_partitions counts why.",
            labels=["channel"],
        )
        age = GaugeMetricFamily(
            "consent_relay_gate_view_age_seconds",
            "How old the ledger is that this channel's list reflects, in its oldest partition: every decision recorded "
            "before is considered. Grows when the relay, the merge, Kafka or the gate makes no progress; beyond "
            "CONSENT_RELAY_GATE_STALE_AFTER the addresses of the partition are denied. Absent while not known.",
            labels=["channel"],
        )
        hindered = GaugeMetricFamily(
            "consent_relay_gate_view_hindered_partitions",
            "Partitions whose addresses are all denied, by the stage that makes no progress: stale (the relay, the "
            "merge, Kafka), inbound_stale (ingest), bulk_stale (the bulk lane), hole (Kafka has lost records, which "
            "are being repaired), unknown (no resolved timestamp has been read yet). Should be 0.",
            labels=["channel", "stage"],
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
        clock = GaugeMetricFamily(
            "consent_relay_gate_clock_lead_seconds",
            "By how much the clock of this host is ahead of the brokers', by the append times of resolved records; "
            "negative: behind. Beyond 2 s either way the gate is not ready. Absent until a record has been read.",
        )
        for view in self._views:
            state = view.state
            usable.add_metric([view.channel], state.usable)
            if state.age_seconds is not None:
                age.add_metric([view.channel], state.age_seconds)
            for stage in STAGES:
                hindered.add_metric([view.channel, stage], len(state.hindrances.get(stage, ())))
            entries.add_metric([view.channel], state.entries)
            unreadable.add_metric([view.channel], state.unreadable)
        for view in self._views[:1]:
            if (lead := view.timestamps.clock_lead) is not None:
                clock.add_metric([], lead / 1_000_000)
        return [usable, age, hindered, entries, unreadable, clock]


class RegisterMetrics(Collector):
    """How old the registers may become that the gate was given, read at each scrape."""

    def __init__(self, registers: Callable[[], Registers]) -> None:
        self._registers = registers

    def collect(self) -> Iterable[GaugeMetricFamily]:
        stale_at = GaugeMetricFamily(
            "consent_relay_gate_register_stale_at_timestamp_seconds",
            "When the register becomes older than it may be, by the gate's file; 0: none was loaded, or not for all "
            "that it declares; +Inf: never, as it has ended. In the past: the gate denies its channels and purposes. "
            "Load a newer one, and give the gate the new file (consent-relay registers export).",
            labels=["register"],
        )
        for each in self._registers().limits:
            stale_at.add_metric([each.name], math.inf if each.stale_at is None else each.stale_at / 1_000_000)
        yield stale_at
