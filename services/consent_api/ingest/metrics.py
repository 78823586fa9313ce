"""What the Kafka consumers of this service count."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consent_service.zero_series import from_zero

BATCH_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

FENCED, TOO_MANY_LEFT = "fenced", "too_many_left"
"""Causes for which a batch is put back, beside what does not answer."""
REGISTRY = "registry"


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestMetrics:
    """`topic` is one of the three topics consumed here; `outcome` a fixed set named in each help text."""

    records: Counter
    without_effect: Counter
    repeats_after_lift: Counter
    batch_seconds: Histogram
    retries: Counter
    skipped: Counter
    waiting: Gauge
    by_bulk: Counter
    paused: Gauge
    throttled: Gauge
    clock_offset: Gauge
    dropped_fields: Counter
    results_lost: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry, *, topics: Collection[str] = ()) -> "IngestMetrics":
        """`topics`: those that are consumed here."""
        metrics = cls(
            records=Counter(
                "consent_relay_ingest_records_total",
                "Records consumed, by outcome: recorded, repeated (known already, nothing to do), or"
                " dead_letter (unreadable or invalid, kept aside with its reason).",
                ["topic", "outcome"],
                registry=registry,
            ),
            without_effect=Counter(
                "consent_relay_ingest_without_effect_total",
                "Decisions recorded, or repeated, that changed nothing, by choice (refusal or permission) and effect:"
                " superseded (one recorded before decides) or no_address (no address is known of the person). Each"
                " refusal among them is a dead letter too (without_effect), which names the deciding decision.",
                ["topic", "choice", "effect"],
                registry=registry,
            ),
            repeats_after_lift=Counter(
                "consent_relay_ingest_repeats_after_lift_total",
                "Refusals under the event id of one that a later permission has lifted: as repetitions they change"
                " nothing. The log names them. After a replay they are expected; else a producer gives every refusal of"
                " a person the same event id, and has to give each its own.",
                ["topic"],
                registry=registry,
            ),
            batch_seconds=Histogram(
                "consent_relay_ingest_batch_seconds",
                "Time from a fetched batch to its database commit, retries not included.",
                ["topic"],
                buckets=BATCH_SECONDS,
                registry=registry,
            ),
            retries=Counter(
                "consent_relay_ingest_retries_total",
                "Batches put back, by cause: the database, the registry or the broker did not answer, the consumer was"
                " fenced, or too_many_left (the people they concern are held by other transactions). Nothing is lost"
                " while this grows, but nothing is recorded either; of the registry, what has a schema that is not"
                " known here: other submissions are recorded.",
                ["topic", "cause"],
                registry=registry,
            ),
            skipped=Counter(
                "consent_relay_ingest_skipped_records_total",
                "Offsets that were deleted before this group read them (retention). They are not recorded:"
                " have it submitted again.",
                ["topic"],
                registry=registry,
            ),
            waiting=Gauge(
                "consent_relay_ingest_waiting_records",
                "Submissions that wait because another transaction (an import, say) holds the person they concern, or"
                " because the registry does not answer and their schema is not known here; the others are recorded"
                " meanwhile. One that waits for more than 8 s makes the process unready.",
                ["topic"],
                registry=registry,
            ),
            by_bulk=Counter(
                "consent_relay_ingest_recorded_by_bulk_total",
                "Live submissions that went by the bulk lane, as the transaction of one alone lasted longer than the"
                " second that the live lane allows, five times or for eight seconds: the database is slow, or a person"
                " has thousands of addresses.",
                registry=registry,
            ),
            paused=Gauge(
                "consent_relay_ingest_paused",
                "1 while a batch waits for a dependency to come back and the partitions are paused.",
                ["topic"],
                registry=registry,
            ),
            throttled=Gauge(
                "consent_relay_ingest_bulk_throttled",
                "1 while submissions from consent.inbound.bulk.v1 are recorded at one batch a second, because the bulk"
                " lane's resolved timestamp is more than a minute old. Live submissions are never slowed.",
                registry=registry,
            ),
            clock_offset=Gauge(
                "consent_relay_ingest_clock_offset_seconds",
                "Seconds that this process's clock was ahead of the database's (negative: behind) when last compared."
                " Decisions are stamped by the database's. Beyond 1 s the process is not ready, but goes on recording:"
                " synchronise both hosts (NTP).",
                registry=registry,
            ),
            dropped_fields=Counter(
                "consent_relay_ingest_dropped_fields_total",
                "Fields that refusals were recorded without, because they could not be read: a time in milliseconds, a"
                " reference that identifies no one. The log names the records. Growing: a producer writes the field"
                " wrongly.",
                ["topic", "field"],
                registry=registry,
            ),
            results_lost=Counter(
                "consent_relay_ingest_results_lost_total",
                "Results of submissions that are not on consent.results.v1, because that topic has taken none for 30 s."
                " The submissions are recorded, or dead letters: GET /v1/events/{event_id} answers what became of one.",
                ["topic"],
                registry=registry,
            ),
        )
        from_zero(metrics.records, topics, ("recorded", "repeated", "dead_letter"))
        from_zero(metrics.retries, topics, ("database", REGISTRY, "broker", FENCED, TOO_MANY_LEFT))
        from_zero(metrics.without_effect, topics, ("refusal", "permission"), ("superseded", "no_address"))
        from_zero(metrics.repeats_after_lift, topics)
        from_zero(metrics.skipped, topics)
        from_zero(metrics.results_lost, topics)
        return metrics

    def changed_nothing(self, topic: str, effect: str, *, permission: bool) -> None:
        """Count a decision without effect."""
        self.without_effect.labels(topic, "permission" if permission else "refusal", effect).inc()

    @contextmanager
    def batch(self, topic: str) -> Iterator[None]:
        """Times a batch that succeeds."""
        started = perf_counter()
        yield
        self.batch_seconds.labels(topic).observe(perf_counter() - started)

    def count(self, topic: str, *, total: int, repeated: int, dead_letters: int) -> None:
        """One batch: what is neither repeated nor a dead letter has been recorded."""
        self.records.labels(topic, "recorded").inc(total - repeated - dead_letters)
        self.records.labels(topic, "repeated").inc(repeated)
        self.records.labels(topic, "dead_letter").inc(dead_letters)
