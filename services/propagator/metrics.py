"""Every metric of the propagator. Prefix consent_relay_, base units, labels bounded by the destinations file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consent_contracts.errors import UNREADABLE_REASONS, InvalidRecordError
from consent_service.zero_series import from_zero

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 120, 300, 900, 3600)
_D = ("destination",)
_ACTIONS = ("suppress", "permit")
_OUTCOMES = ("accepted", "refused", "unsealable", "no_address", "no_target", "adopted", "repeated")
_RESULTS = ("ok", "partial", "down", "throttled", "misconfigured", "refused", "not_allowed", "error")
_STAGES = ("queued", "accepted", "effective", "failed", "impossible")
_PUSH_ERROR_STAGES = ("build", "call", "answer", "receipt", "record")


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Built once, on the registry that /metrics serves."""

    latency: Histogram
    oldest_pending: Gauge
    backlog: Gauge
    impossible: Gauge
    delivered_until: Gauge
    pushes: Counter
    calls: Counter
    requests: Counter
    retries: Counter
    breaker_open: Gauge
    verified: Gauge
    paused: Gauge
    quarantined: Gauge
    ineffective: Gauge
    waiting_permissions: Gauge
    in_flight: Gauge
    throttled: Counter
    receipts: Counter
    deferred: Counter
    push_errors: Counter
    unreadable: Counter
    schemas_missing: Gauge

    @classmethod
    def on(cls, registry: CollectorRegistry, *, channels: Mapping[str, str] = MappingProxyType({})) -> Metrics:
        """`channels`: of each destination's name."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"consent_relay_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"consent_relay_{name}", text, labels, registry=registry)

        metrics = cls(
            latency=Histogram(
                "consent_relay_propagation_latency_seconds",
                "From our acceptance of a decision to the destination's acknowledgement, retries and outages"
                " included. The promise is 5 s at p99 for live withdrawals at a healthy destination (class=live,"
                " action=suppress): where its rate limit is short, permissions wait for them. Imports, fills and ends"
                " of permissions are bulk. A permission that ended is measured from its end; an entry that was written"
                " over a minute after the decision (an address linked later, a merge that was down) from that entry;"
                " bulk never from before the destination's last fill began.",
                ("channel", "destination", "class", "action"),
                buckets=BUCKETS,
                registry=registry,
            ),
            oldest_pending=gauge(
                "propagation_oldest_pending_revocation_seconds",
                "Age of the oldest revocation that the destination has not acknowledged, by class (live, bulk)."
                " 0: none is pending. Live above 5 while the breaker is closed: look at the rate limit and at"
                " destination_verified.",
                *_D,
                "class",
            ),
            backlog=gauge(
                "propagation_backlog",
                "Pushes that the destination still has to take, by class (live, bulk) and kind: suppress, permit,"
                " record (only our own record changes; as bulk also list entries that are not planned yet), forget."
                " Paused destinations count too.",
                *_D,
                "class",
                "kind",
            ),
            impossible=gauge(
                "propagation_impossible_revocations",
                "Current revocations that the destination will never take (receipt `impossible`), one for each target:"
                " it refused them, no address can be opened, or it has no target for the purpose. Above 0: only the"
                " gate and the list stop these sends. It falls when they are delivered, superseded or erased.",
                *_D,
            ),
            delivered_until=gauge(
                "propagation_delivered_until_timestamp_seconds",
                "Every live decision recorded until this time is delivered to the destination. Absent while it is not"
                " known: restoring, or a hole in Kafka. It stops when anything between ledger and tool stops.",
                *_D,
            ),
            pushes=counter(
                "propagation_pushes_total",
                "Pushes that ended, by action (suppress, permit) and outcome: accepted, refused (the tool will never"
                " take it), unsealable, no_address, no_target, adopted (already suppressed for other decisions),"
                " repeated (delivered once more, as an earlier permission could have taken effect after it).",
                *_D,
                "action",
                "outcome",
            ),
            calls=counter(
                "propagation_calls_total",
                "Calls to the destination by result: ok, partial, down, throttled, misconfigured, refused (every push"
                " of it: the destination is held), not_allowed, error (a bug of ours, see the log).",
                *_D,
                "result",
            ),
            requests=counter(
                "propagation_requests_total",
                "Requests that were counted against the account's rate limit: calls, the parts of split batches,"
                " look-ups, access tokens and checks of the account.",
                *_D,
            ),
            retries=counter("propagation_retries_total", "Pushes that went back to wait for another attempt.", *_D),
            breaker_open=gauge(
                "propagation_breaker_open",
                "1 while the destination counts as down; it is probed every second or two for a minute, then at least"
                " every 15 s. Its pushes wait; the gate and the suppression topic deny meanwhile.",
                *_D,
            ),
            verified=gauge(
                "propagation_destination_verified",
                "1 while the tool knows our credentials and every group, list and sender, and takes what is sent. 0 for"
                " more than a minute: read the log line `destination not verified` (nothing is sent to it),"
                " `destination refuses` (everything waits, and nothing ends) or `target refused by the destination`"
                " (unknown, full or refusing whatever is sent: what concerns that target waits, the rest is sent).",
                *_D,
            ),
            paused=gauge(
                "propagation_destination_paused",
                "1 while the destinations file pauses the destination: nothing is sent, the backlog is counted.",
                *_D,
            ),
            quarantined=gauge(
                "propagation_quarantined_targets",
                "Targets that the tool does not know, that are full, or that refuse whatever is sent: their pushes wait"
                " until a person has corrected the tool or the purpose mapping. The log line `target refused by the"
                " destination` names the target and the cure.",
                *_D,
            ),
            ineffective=gauge(
                "propagation_ineffective_targets",
                "Targets that take what is sent and stop nothing at the tool: Genesys Cloud lists that no campaign"
                " names. Above 0: people who withdrew are called; the log line `target has no effect` names the cure."
                " Absent: not known, as not all could be looked up.",
                *_D,
            ),
            waiting_permissions=gauge(
                "propagation_waiting_permissions",
                "Permissions held in memory that may not be sent now, as the list is too old, restoring or has a hole"
                " there. Revocations go out meanwhile.",
                *_D,
            ),
            in_flight=gauge("propagation_pushes_in_flight", "Pushes that are in a call to the destination.", *_D),
            throttled=counter(
                "propagation_throttled_seconds_total",
                "Seconds the destination asked us to wait (429, Retry-After). Grows fast: its limit in the"
                " destinations file is above what the account really has.",
                *_D,
            ),
            receipts=counter(
                "propagation_receipts_total",
                "Receipts the broker acknowledged, by stage: queued, accepted, effective, failed, impossible.",
                *_D,
                "stage",
            ),
            deferred=counter(
                "propagation_pushes_deferred_total",
                "Times a push was held back as this process was not surely the active sender, or (a permission) as the"
                " list was too old or restoring. It is tried again; a steady rate means Kafka is slow or unreachable.",
                *_D,
                "action",
            ),
            push_errors=counter(
                "propagation_push_errors_total",
                "Exceptions of ours while one push was planned, built or answered (stage). The address backs off and"
                " everything else goes on; the log names the exception. Report it: it is a bug.",
                *_D,
                "stage",
            ),
            unreadable=counter(
                "propagation_unreadable_entries_total",
                "Entries that went to dead letters. Nothing was pushed for them; see `dead-letters list`.",
                *_D,
                "reason",
            ),
            schemas_missing=gauge(
                "propagation_partitions_without_schema",
                "Partitions whose entries wait as the schema registry does not answer, or does not know their schema."
                " Above 0: nothing of these entries is pushed; bring the registry back. While it answers without the"
                " schema they become dead letters after 5 minutes.",
                *_D,
            ),
        )
        for destination, channel in channels.items():
            from_zero(metrics.latency, [channel], [destination], ("live", "bulk"), _ACTIONS)
        from_zero(metrics.pushes, channels, _ACTIONS, _OUTCOMES)
        from_zero(metrics.calls, channels, _RESULTS)
        from_zero(metrics.receipts, channels, _STAGES)
        from_zero(metrics.deferred, channels, _ACTIONS)
        from_zero(metrics.push_errors, channels, _PUSH_ERROR_STAGES)
        from_zero(metrics.unreadable, channels, [*UNREADABLE_REASONS, InvalidRecordError.reason])
        for by_destination in (metrics.requests, metrics.retries, metrics.throttled, metrics.schemas_missing):
            from_zero(by_destination, channels)
        return metrics
