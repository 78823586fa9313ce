"""What the relay counts."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayMetrics:
    """`topic` is one of our own topics; `outcome` is published, refused (by the broker, for good) or failed."""

    pending: Gauge
    oldest: Gauge
    published: Counter
    batch_seconds: Histogram
    retries: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry) -> "RelayMetrics":
        return cls(
            pending=Gauge(
                "consent_relay_outbox_pending",
                "Rows recorded and not yet acknowledged by Kafka. Exact up to 10,000, the database's estimate"
                " beyond; NaN while the database does not answer.",
                registry=registry,
            ),
            oldest=Gauge(
                "consent_relay_outbox_oldest_age_seconds",
                "Age of the oldest row that Kafka has not acknowledged; 0 when there is none. A revocation may"
                " be among them: above 5 seconds the promise of seconds is broken.",
                registry=registry,
            ),
            published=Counter(
                "consent_relay_outbox_published_total",
                "Outbox rows handed to Kafka, by outcome: published (acknowledged, row deleted), failed (tried"
                " again soon, row kept), refused (the broker will not take this record: row kept, tried"
                " again every minute, needs a person).",
                ["topic", "outcome"],
                registry=registry,
            ),
            batch_seconds=Histogram(
                "consent_relay_outbox_batch_seconds",
                "Time from claiming rows to the commit of their deletion, for batches that were acknowledged.",
                buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
                registry=registry,
            ),
            retries=Counter(
                "consent_relay_outbox_retries_total",
                "Turns that failed as a whole, by cause: database or broker. Rows stay; nothing is lost.",
                ["cause"],
                registry=registry,
            ),
        )
