"""What the HTTP API counts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consent_service.zero_series import from_zero

SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CLASSES = ("live", "bulk")
_LOGIN_OUTCOMES = ("begun", "refused", "limited", "foreign_form")
_CONSOLE_ACTS = (
    *("person_viewed", "answer_printed", "looked_up", "spoken_withdrawal", "review_resolved"),
    *("request_opened", "request_resolved", "data_exported", "erasure_begun", "rectified"),
)
_LINK_KINDS = ("one-click", "preferences")
_LINK_OUTCOMES = ("shown", "recorded", "wrong_token", "foreign_form", "outdated", "limited", "unavailable")


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiMetrics:
    """``class`` is live or bulk; ``outcome`` is recorded, repeated or refused; ``route`` one of the paths in
    /openapi.json, or other."""

    decisions: Counter
    no_effect: Counter
    requests: Histogram
    idempotency_conflicts: Counter
    unavailable: Counter
    by_bulk: Counter
    clock_offset: Gauge
    bulk_deferred: Counter
    bulk_resolved_age: Gauge
    dropped_fields: Counter
    link_uses: Counter
    console_logins: Counter
    console_acts: Counter
    pause_failures: Counter
    codes: Counter
    erasure_failures: Counter
    channels: Collection[str]

    @classmethod
    def on(cls, registry: CollectorRegistry, *, channels: Collection[str]) -> ApiMetrics:
        metrics = cls(
            decisions=Counter(
                "consent_relay_api_decisions_total",
                "Decisions submitted by HTTP, by class (live or bulk) and outcome: recorded (committed, with its"
                " messages), repeated (the event was known, the first decision remains) or refused (the answer names"
                " the reason). Channel is other for channels that this installation does not have.",
                ["channel", "class", "outcome"],
                registry=registry,
            ),
            no_effect=Counter(
                "consent_relay_api_without_effect_total",
                "Decisions answered as recorded, or repeated, that changed nothing, by class (live or bulk), choice"
                " (refusal or permission) and effect: superseded (one recorded before decides; the answer names it) or"
                " no_address (no address is known of the person). Refusals that are superseded: look at the times that"
                " the caller sends.",
                ["class", "choice", "effect"],
                registry=registry,
            ),
            requests=Histogram(
                "consent_relay_api_request_seconds",
                "Time from a request's headers to its whole answer, by path and status. A decision is committed"
                " within it. Above 0.1 s look at the database first.",
                ["route", "method", "status"],
                buckets=SECONDS,
                registry=registry,
            ),
            idempotency_conflicts=Counter(
                "consent_relay_api_idempotency_conflicts_total",
                "Requests refused for their Idempotency-Key, by reason: in_flight (the first is under way; the caller"
                " retries too early) or reused (one key for two requests: a fault of the caller's).",
                ["reason"],
                registry=registry,
            ),
            unavailable=Counter(
                "consent_relay_api_unavailable_total",
                "Requests answered 503 because the database did not answer or stayed contended. Nothing was"
                " acknowledged; callers try again.",
                registry=registry,
            ),
            by_bulk=Counter(
                "consent_relay_api_recorded_by_bulk_total",
                "Single live decisions that went by the bulk lane, as the transaction of one alone lasted longer than"
                " the second that the live lane allows: the database is slow, or a person has thousands of addresses.",
                registry=registry,
            ),
            clock_offset=Gauge(
                "consent_relay_api_clock_offset_seconds",
                "Seconds by which this process's clock was faster than the database's (negative: slower) when last"
                " compared. Decisions are stamped by the database's. Beyond 1 s the process is not ready: synchronise"
                " both hosts (NTP).",
                registry=registry,
            ),
            bulk_deferred=Counter(
                "consent_relay_api_bulk_deferred_total",
                "Bulk requests answered 429 because the bulk lane's resolved timestamp was more than a minute old."
                " Importers send them again. Growing for long: the relay or Kafka cannot keep up with imports.",
                registry=registry,
            ),
            bulk_resolved_age=Gauge(
                "consent_relay_api_bulk_resolved_age_seconds",
                "Age of the bulk lane's resolved timestamp when this process last looked, at most once a second and"
                " only for bulk requests: up to then every bulk decision is in Kafka. NaN until a relay has published"
                " one. Above 60 s bulk requests are answered 429.",
                registry=registry,
            ),
            dropped_fields=Counter(
                "consent_relay_api_dropped_fields_total",
                "Fields that refusals submitted by HTTP were recorded without, because they could not be read: an"
                " impossible time, a reference that identifies no one. The answer lists them. Growing: a caller writes"
                " the field wrongly; field is the field's name, or other for one that is unknown.",
                ["field"],
                registry=registry,
            ),
            pause_failures=Counter(
                "consent_relay_api_pause_failures_total",
                "Attempts to end a pause that is over which failed, or found it held by another session of the database"
                " for 20 s or more: its person stays refused. It is tried again within the hour. See the log for why.",
                registry=registry,
            ),
            codes=Counter(
                "consent_relay_api_codes_total",
                "Codes by which persons without a link reach their choices, by outcome: asked, sent (the operator's"
                " webhook took it; none is for addresses that the ledger does not know), not_sent (it did not, see the"
                " log), right, wrong (as it was typed; many: someone guesses) or limited (answered 429).",
                ["outcome"],
                registry=registry,
            ),
            erasure_failures=Counter(
                "consent_relay_api_erasure_failures_total",
                "Steps of erasures that failed: each is tried again within five minutes, and the person is refused"
                " everything meanwhile. See the log for why; the law gives a month.",
                registry=registry,
            ),
            link_uses=Counter(
                "consent_relay_api_link_uses_total",
                "Uses of links by persons and their mail providers, by kind (one-click or preferences) and outcome:"
                " shown, recorded (committed, or nothing to change), wrong_token (no link of ours, or its key was"
                " retired; many: someone guesses, or a mailer cuts links), foreign_form (not sent by the page),"
                " outdated (the page was; the person was asked to look again), limited (answered 429) or unavailable"
                " (answered 503: nothing was recorded, look at the database).",
                ["kind", "outcome"],
                registry=registry,
            ),
            console_logins=Counter(
                "consent_relay_api_console_logins_total",
                "Logins to the console, by outcome: begun, refused (no live API key with the scope console), limited"
                " (refused, and one caller's too many: answered 429; many: someone guesses) or foreign_form (sent by"
                " another site's page).",
                ["outcome"],
                registry=registry,
            ),
            console_acts=Counter(
                "consent_relay_api_console_acts_total",
                "What employees did in the console, by act: person_viewed, answer_printed, looked_up (a number, on the"
                " agents' page), spoken_withdrawal, review_resolved, request_opened, request_resolved (or"
                " extended), data_exported, erasure_begun, rectified."
                " Who did it is in the audit entries.",
                ["act"],
                registry=registry,
            ),
            channels=frozenset(channels),
        )
        from_zero(metrics.codes, ("asked", "sent", "not_sent", "right", "wrong", "limited"))
        from_zero(metrics.console_logins, _LOGIN_OUTCOMES)
        from_zero(metrics.console_acts, _CONSOLE_ACTS)
        from_zero(metrics.link_uses, _LINK_KINDS, _LINK_OUTCOMES)
        from_zero(metrics.decisions, [*channels, "other"], _CLASSES, ("recorded", "repeated", "refused"))
        from_zero(metrics.no_effect, _CLASSES, ("refusal", "permission"), ("superseded", "no_address"))
        from_zero(metrics.idempotency_conflicts, ("in_flight", "reused"))
        return metrics

    def without_effect(self, effect: str, *, permission: bool, bulk: bool) -> None:
        """Count a decision that changes nothing."""
        choice = "permission" if permission else "refusal"
        self.no_effect.labels("bulk" if bulk else "live", choice, effect).inc()

    def decided(self, outcome: str, channel: object, *, bulk: bool) -> None:
        """Count a decision; a channel that is none of ours does not become a label."""
        known = isinstance(channel, str) and channel in self.channels
        self.decisions.labels(channel if known else "other", "bulk" if bulk else "live", outcome).inc()


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneMetrics:
    """How far each lane is carried, as the ledger knows it. ``lane`` is live or bulk."""

    pending: Gauge
    oldest: Gauge
    resolved_age: Gauge
    inbound_age: Gauge

    @classmethod
    def on(cls, registry: CollectorRegistry) -> LaneMetrics:
        return cls(
            pending=Gauge(
                "consent_relay_api_outbox_pending",
                "Rows recorded and not yet acknowledged by Kafka, by lane, as this process sees them: also while no"
                " relay runs. Exact up to 10,000; NaN while the database does not answer.",
                ["lane"],
                registry=registry,
            ),
            oldest=Gauge(
                "consent_relay_api_outbox_oldest_age_seconds",
                "Age of the oldest such row, by lane; 0 when there is none. Live above 5: are decisions published? Is a"
                " relay running, and does Kafka take records?",
                ["lane"],
                registry=registry,
            ),
            resolved_age=Gauge(
                "consent_relay_api_resolved_age_seconds",
                "Age of the lane's resolved timestamp, of its oldest partition: every decision acknowledged earlier is"
                " in Kafka. Is a relay alive? Growing by a second a second: none is, or a transaction holds the outbox."
                " Above 30 s (live) readers deny. NaN before the first one, or while the database does not answer.",
                ["lane"],
                registry=registry,
            ),
            inbound_age=Gauge(
                "consent_relay_api_inbound_resolved_age_seconds",
                "Age of the append time up to which the lane's inbound topic is recorded, of its oldest partition. Is"
                " an ingest alive? Above 60 s (live) readers deny. +Inf: a partition was never read. NaN: no ingest is"
                " configured, or the database does not answer.",
                ["lane"],
                registry=registry,
            ),
        )

    def show(self, lane: str, *, pending: float, oldest: float, resolved: float, inbound: float) -> None:
        self.pending.labels(lane).set(pending)
        self.oldest.labels(lane).set(oldest)
        self.resolved_age.labels(lane).set(resolved)
        self.inbound_age.labels(lane).set(inbound)
