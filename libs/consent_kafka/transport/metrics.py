"""What the transport counts. One object serves all streams of a process."""

from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from consent_service.zero_series import from_zero


@dataclass(frozen=True, kw_only=True)
class TransportMetrics:
    records: Counter
    chunks: Counter
    outstanding: Gauge
    paused: Gauge
    owned: Gauge
    rebalances: Counter
    skipped: Counter
    commits: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry) -> "TransportMetrics":
        place = ("stream", "topic", "partition")
        return cls(
            records=Counter(
                "consent_relay_stream_records",
                "Records handed to the handler; grows again for records that are delivered again.",
                ("stream", "topic"),
                registry=registry,
            ),
            chunks=Counter(
                "consent_relay_stream_chunks",
                "Chunks (runs of records of one partition) handed to the handler.",
                ("stream", "topic"),
                registry=registry,
            ),
            outstanding=Gauge(
                "consent_relay_stream_outstanding_records",
                "Records fetched and not yet acknowledged; at its bound the partition is paused.",
                place,
                registry=registry,
            ),
            paused=Gauge(
                "consent_relay_stream_paused",
                "1 while the partition is paused because too many of its records are unacknowledged.",
                place,
                registry=registry,
            ),
            owned=Gauge(
                "consent_relay_stream_partitions_owned",
                "Partitions this process holds and has recovered.",
                ("stream",),
                registry=registry,
            ),
            rebalances=Counter(
                "consent_relay_stream_rebalances",
                "Assignments received from the consumer group. Growing steadily: members come and go.",
                ("stream",),
                registry=registry,
            ),
            skipped=Counter(
                "consent_relay_stream_skipped_records",
                "Offsets that were deleted before this group read them (retention). They have had no effect:"
                " publish it again from where it came (consent.changes.v1: `consent-relay republish`).",
                ("stream", "topic"),
                registry=registry,
            ),
            commits=Counter(
                "consent_relay_stream_commits",
                "Offset commits by outcome: done, refused (the group moved on), failed (the broker did not answer).",
                ("stream", "outcome"),
                registry=registry,
            ),
        )

    def start_at_zero(self, stream: str, topics: Collection[str]) -> None:
        """The series of one stream and the topics that it reads."""
        for by_topic in (self.records, self.chunks, self.skipped):
            from_zero(by_topic, [stream], topics)
        from_zero(self.rebalances, [stream])
        from_zero(self.commits, [stream], ("done", "refused", "failed"))
