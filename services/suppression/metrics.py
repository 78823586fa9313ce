"""The metrics of the merge stage."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consent_service.zero_series import from_zero
from consent_state import RebuildReason
from suppression.merge.lanes import Lane

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_RESTORE_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300)


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeMetrics:
    """Build with `on(registry)`. Labels: outcome and channel of a configured set, partition numbers."""

    records: Counter
    resolved_age: Gauge
    holes: Gauge
    clock_offset: Gauge
    entries_written: Counter
    merge_seconds: Histogram
    transaction_seconds: Histogram
    chunk_records: Histogram
    restore_seconds: Histogram
    restored_records: Counter
    state_rebuilds: Counter
    ready: Gauge
    writers_opened: Counter
    fenced: Counter
    aborted: Counter
    retries: Counter
    unreadable_entries: Counter
    truncated_entries: Counter
    ended_permissions: Counter
    unrecognised_records: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry, *, channels: Collection[str] = ()) -> MergeMetrics:
        """Declare them on `registry`. `channels`: those of the installation."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"consent_relay_suppression_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"consent_relay_suppression_{name}", text, registry=registry, buckets=buckets)

        metrics = cls(
            records=counter(
                "records",
                "Changes merged, by lane (live: consent.changes.v1, bulk: consent.changes.bulk.v1) and outcome: merged "
                "(counts in an entry), unchanged (late, repeated or older than the entry), rejected (went to dead "
                "letters).",
                "outcome",
                "lane",
            ),
            resolved_age=Gauge(
                "consent_relay_suppression_resolved_age_seconds",
                "How old the list is: time since the moment up to which every accepted decision of the lane (live, "
                "bulk) is in it, or the records of the inbound topic (inbound_live, inbound_bulk) are recorded. "
                "Growing: ingest, the relay or this process does not keep up. Absent: not known yet, or a hole.",
                ("partition", "lane"),
                registry=registry,
            ),
            holes=Gauge(
                "consent_relay_suppression_holes",
                "1 while Kafka has lost records of this partition and the relay has not published them again, by "
                "scope: all, or the one channel whose topic lost them. No permission is delivered meanwhile.",
                ("partition", "scope"),
                registry=registry,
            ),
            clock_offset=Gauge(
                "consent_relay_suppression_clock_offset_seconds",
                "Seconds by which this process's clock is certainly ahead of the brokers' (negative: behind), by the "
                "append times of what it writes. Ends of permissions are judged by it. Beyond 2 s the process is not "
                "ready: synchronise both hosts (NTP). NaN: nothing was written yet.",
                registry=registry,
            ),
            entries_written=counter(
                "entries_written", "Entries committed to suppression.<channel>.v1, by channel.", "channel"
            ),
            merge_seconds=histogram(
                "merge_seconds", "Time from a chunk's decoded changes to its entries being ready to write."
            ),
            transaction_seconds=histogram(
                "transaction_seconds",
                "Time of one transaction, from its first record to the broker's commit. Rising: the broker is slow.",
            ),
            chunk_records=histogram(
                "chunk_records",
                "Changes in one chunk, hence in one transaction. Near the fetch limit: the stage is behind.",
                (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000),
            ),
            restore_seconds=histogram(
                "restore_seconds",
                "Time a partition took to bring its local state to the ends of the suppression topics.",
                _RESTORE_SECONDS,
            ),
            restored_records=counter(
                "restored_records", "Records of the suppression topics read to restore local state."
            ),
            state_rebuilds=counter(
                "state_rebuilds",
                "Times the local state of a partition was restored from the beginning of the topics, by reason: absent "
                "(a first start, or a deleted directory), corrupted, locked (by a process that is frozen), format, "
                "too_old, topic_recreated, out_of_range (the topic lost records). Nothing is lost; corrupted more than "
                "once means a bad disk.",
                "reason",
            ),
            ready=Gauge(
                "consent_relay_suppression_partition_ready",
                "1: this process merges the partition. 0: it restores its local state, or waits for the broker.",
                ("partition",),
                registry=registry,
            ),
            writers_opened=counter(
                "writers_opened", "Times a fenced writer was opened: once per assignment of a partition."
            ),
            fenced=counter(
                "fenced",
                "Times a writer found itself fenced: another worker took its partition while this one was frozen or "
                "cut off, or a transaction timed out. Nothing is lost; often means workers that stall.",
            ),
            aborted=counter("aborted_transactions", "Transactions aborted and tried again. No reader saw them."),
            retries=counter(
                "retries",
                "Times work was put off because the broker or the registry did not answer. Nothing is lost meanwhile.",
            ),
            unreadable_entries=counter(
                "unreadable_entries",
                "Stored entries that could not be read. Their addresses are denied until consent is given again; "
                "`consent-relay republish` brings back what the ledger knows.",
            ),
            truncated_entries=counter(
                "truncated_entries",
                "Entries above 128 KiB, written with some of their decisions drawn together: old "
                "permissions given up, refusals of one purpose made one. Always at least as strict. One address with "
                "thousands of decisions is hardly a person's.",
            ),
            ended_permissions=counter(
                "ended_permissions",
                "Entries written again because a permission in them had reached its end, so that tools to which it was "
                "pushed hear of it.",
            ),
            unrecognised_records=counter(
                "unrecognised_records",
                "Records on the suppression topics that are not entries: found while restoring, sent to dead letters.",
            ),
        )
        from_zero(metrics.records, ("merged", "unchanged", "rejected"), Lane)
        from_zero(metrics.entries_written, channels)
        from_zero(metrics.state_rebuilds, RebuildReason)
        return metrics
