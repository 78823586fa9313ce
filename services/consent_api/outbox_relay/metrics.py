"""What the relay counts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consent_service.zero_series import from_zero

_LANES = ("live", "bulk")


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayMetrics:
    """`lane` is live or bulk; `topic` is one of our own topics; `outcome` a fixed set named in each help text."""

    pending: Gauge
    oldest: Gauge
    published: Counter
    batch_seconds: Histogram
    retries: Counter
    unavailable: Gauge
    denials: Counter
    turns: Counter
    resolved_age: Gauge
    clock_set_back: Counter
    clock_offset: Gauge
    losses: Counter
    open_holes: Gauge
    repairs: Counter
    repair_events: Counter
    renewals: Counter
    renewal_failures: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry, *, topics: Collection[str] = ()) -> RelayMetrics:
        """`topics`: those that the relay publishes to."""
        metrics = cls(
            pending=Gauge(
                "consent_relay_outbox_pending",
                "Rows recorded and not yet acknowledged by Kafka, by lane. Exact up to 10,000, the database's estimate"
                " beyond; NaN while the database does not answer.",
                ["lane"],
                registry=registry,
            ),
            oldest=Gauge(
                "consent_relay_outbox_oldest_age_seconds",
                "Age of the oldest row that Kafka has not acknowledged, by lane; 0 when there is none. In the live lane"
                " a revocation may be among them: above 5 seconds the promise of seconds is broken. In the bulk lane it"
                " is the backlog of an import.",
                ["lane"],
                registry=registry,
            ),
            published=Counter(
                "consent_relay_outbox_published_total",
                "Outbox rows handed to Kafka, by outcome: published (acknowledged, row deleted), failed (tried"
                " again soon, row kept), refused (the broker does not take this record: replaced by one that denies the"
                " address, see consent_relay_outbox_denials_total).",
                ["topic", "outcome"],
                registry=registry,
            ),
            batch_seconds=Histogram(
                "consent_relay_outbox_batch_seconds",
                "Time from claiming rows to the commit of their deletion, by lane, for batches that were acknowledged.",
                ["lane"],
                buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
                registry=registry,
            ),
            retries=Counter(
                "consent_relay_outbox_retries_total",
                "Batches that failed, whole or in part, by lane and cause: database, broker or registry. Rows stay;"
                " nothing is lost.",
                ["lane", "cause"],
                registry=registry,
            ),
            unavailable=Gauge(
                "consent_relay_changes_partition_unavailable",
                "1 for each partition of a changes topic that does not take records: it has no leader or too few"
                " replicas in sync, or the broker does not answer. Its rows wait and its resolved timestamp does"
                " not advance, so readers come to deny for its addresses; the other partitions go on.",
                ["topic", "partition"],
                registry=registry,
            ),
            denials=Counter(
                "consent_relay_outbox_denials_total",
                "Rows that the broker refuses for good, by lane and outcome: denied (a record that denies the address"
                " was published instead; look the outbox_id up in the log and ask the person again), dropped (no"
                " address has this key), kept (the broker refuses the denial too: its topic settings are wrong).",
                ["lane", "outcome"],
                registry=registry,
            ),
            turns=Counter(
                "consent_relay_resolved_turns_total",
                "Turns of this relay, by lane and outcome: kept (the lane's resolved timestamp can advance), lost (the"
                " connection to the database broke), timed_out (a transaction wrote the outbox for longer than any"
                " may). All relays together keep about one a second and lane.",
                ["lane", "outcome"],
                registry=registry,
            ),
            resolved_age=Gauge(
                "consent_relay_resolved_age_seconds",
                "Age of the lane's resolved timestamp, of its oldest partition: every decision acknowledged earlier is"
                " in Kafka. NaN before the first one, or while the database does not answer. Above 30 s (live) readers"
                " deny; above 60 s (bulk) imports are slowed.",
                ["lane"],
                registry=registry,
            ),
            clock_set_back=Counter(
                "consent_relay_resolved_clock_set_back_total",
                "Times this relay found resolved timestamps more than 2 s ahead of the database's clock, by lane: the"
                " clock was fast and was set back. They begin again at its present time. Synchronise the host (NTP);"
                " the log names the seconds.",
                ["lane"],
                registry=registry,
            ),
            clock_offset=Gauge(
                "consent_relay_outbox_clock_offset_seconds",
                "Seconds by which this process's clock was ahead of the database's (negative: behind) when last"
                " compared. Beyond 1 s the process is not ready, but goes on publishing: synchronise both hosts (NTP).",
                registry=registry,
            ),
            losses=Counter(
                "consent_relay_changes_losses_total",
                "Times this relay found that a partition of a changes topic had gone back or had been created again, by"
                " lane: Kafka lost records. The ledger has them; they are published again by a repair.",
                ["lane"],
                registry=registry,
            ),
            open_holes=Gauge(
                "consent_relay_holes_open",
                "Holes that the merge stage reports and that are not closed, as this relay reads them. Readers deny for"
                " their partitions meanwhile.",
                registry=registry,
            ),
            repairs=Counter(
                "consent_relay_hole_repairs_total",
                "Repairs of holes, by outcome: started, finished (everything is published again, the marker is"
                " acknowledged), restarted (the topic changed meanwhile or lost the marker).",
                ["outcome"],
                registry=registry,
            ),
            repair_events=Counter(
                "consent_relay_hole_repair_events_total",
                "Events published again to repair holes.",
                registry=registry,
            ),
            renewals=Counter(
                "consent_relay_renewals_total",
                "Permissions that are about to end, published on consent.renewals.v1 to be asked for again.",
                registry=registry,
            ),
            renewal_failures=Counter(
                "consent_relay_renewals_failures_total",
                "Times renewals could not be found or published: see the log. Tried again within a minute; no decision"
                " waits for them.",
                registry=registry,
            ),
        )
        from_zero(metrics.published, topics, ("published", "failed", "refused"))
        from_zero(metrics.retries, _LANES, ("database", "broker", "registry"))
        from_zero(metrics.denials, _LANES, ("denied", "dropped", "kept"))
        from_zero(metrics.turns, _LANES, ("kept", "lost", "timed_out"))
        from_zero(metrics.clock_set_back, _LANES)
        from_zero(metrics.losses, _LANES)
        from_zero(metrics.repairs, ("started", "finished", "restarted"))
        return metrics
