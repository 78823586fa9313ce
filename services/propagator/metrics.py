"""Every metric of the propagator. Prefix consent_relay_, base units, labels bounded by the destinations file."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 900, 3600)
_D = ("destination",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Built once, on the registry that /metrics serves."""

    latency: Histogram
    oldest_untold: Gauge
    pushes: Counter
    calls: Counter
    retries: Counter
    breaker_open: Gauge
    verified: Gauge
    parked: Gauge
    waiting: Gauge
    throttled: Counter
    receipts: Counter
    withheld: Counter
    unreadable: Counter
    schemas_missing: Gauge

    @classmethod
    def on(cls, registry: CollectorRegistry) -> Metrics:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"consent_relay_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"consent_relay_{name}", text, labels, registry=registry)

        return cls(
            latency=Histogram(
                "consent_relay_propagation_latency_seconds",
                "From our acceptance of a decision to the destination's acknowledgement, retries and outages"
                " included. The promise is 5 s at p99 for a healthy destination. A permission that ended is measured"
                " from its end; what an entry says that was written over a minute after the decision (an address"
                " linked later, a merge that was down) from that entry.",
                ("channel", "destination"),
                buckets=BUCKETS,
                registry=registry,
            ),
            oldest_untold=gauge(
                "propagation_oldest_untold_revocation_seconds",
                "Age of the oldest revocation this worker holds and the destination has not acknowledged:"
                " waiting, in flight and parked. 0: none. What is not consumed yet shows as consumer lag.",
                *_D,
            ),
            pushes=counter(
                "propagation_pushes_total",
                "Settled pushes by action (suppress, permit) and outcome: accepted, refused (the tool will never"
                " take it), unsealable, no_address, no_target, superseded, unchanged, parked,"
                " repeated (told once more, as an earlier permission could have arrived after it).",
                *_D,
                "action",
                "outcome",
            ),
            calls=counter(
                "propagation_calls_total",
                "Calls to the destination by result: ok, partial, down, throttled, misconfigured, withheld.",
                *_D,
                "result",
            ),
            retries=counter("propagation_retries_total", "Pushes that went back to wait for another attempt.", *_D),
            breaker_open=gauge(
                "propagation_breaker_open",
                "1 while the destination counts as down and its consumption is paused; it is probed every second or"
                " two for a minute, then at least every 15 s. The gate and the suppression topic say no meanwhile.",
                *_D,
            ),
            verified=gauge(
                "propagation_destination_verified",
                "1 while the tool knows our credentials and every group, list and sender. 0 for more than a minute:"
                " read the log line `destination not verified` (nothing is pushed to it) or `target refused by the"
                " destination` (what concerns that target waits, the rest is pushed).",
                *_D,
            ),
            parked=gauge(
                "propagation_parked_addresses",
                "Addresses set aside since they alone keep failing, or their target is wrong; each is retried.",
                *_D,
            ),
            waiting=gauge("propagation_waiting_pushes", "Pushes that wait for a call or are in one.", *_D),
            throttled=counter(
                "propagation_throttled_seconds_total",
                "Seconds the destination told us to wait (429, Retry-After). Grows fast: its limit in the"
                " destinations file is above what the account really has.",
                *_D,
            ),
            receipts=counter(
                "propagation_receipts_total",
                "Receipts the broker acknowledged, by stage: queued, accepted, effective, failed, impossible.",
                *_D,
                "stage",
            ),
            withheld=counter(
                "propagation_pushes_withheld_total",
                "Times a push was held back as this worker was not sure to own the partition, or (a permission) as a"
                " newer entry was on its way. It is tried again; a steady rate means Kafka is slow or unreachable.",
                *_D,
                "action",
            ),
            unreadable=counter(
                "propagation_unreadable_entries_total",
                "Entries that went to dead letters. Nothing was pushed for them; see `dead-letters list`.",
                *_D,
                "reason",
            ),
            schemas_missing=gauge(
                "propagation_partitions_without_schema",
                "Partitions whose entries wait as the schema registry does not know their schema, or does not answer."
                " Above 0: nothing of them is pushed; bring the registry back, or run `consent-relay topics apply`.",
                *_D,
            ),
        )
