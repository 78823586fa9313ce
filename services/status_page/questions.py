"""What the page shows: the stages of the path and the destinations, each plot with the queries behind its lines. Pure.

Names and questions are those of `deploy/grafana/generate.py` and `deploy/prometheus/alerts.yml`, over the last minute
instead of five: the page shows 15 of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from consent_contracts.topics import Topics
from status_page.queries import Query, query

Unit = Literal["rate", "seconds", "count"]
PROMISED_SECONDS = 5.0
STALE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """``name``: of its word; empty where it is the only one."""

    query: Query
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """``name``: of its words. ``limit``: above it is wrong. At most two lines: solid and dashed."""

    name: str
    unit: Unit
    lines: Sequence[Line]
    limit: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One of the path. ``processes``: on whose answers it depends."""

    name: str
    plots: Sequence[Plot]

    @property
    def processes(self) -> Sequence[str]:
        return tuple(dict.fromkeys(line.query.process for plot in self.plots for line in plot.lines))


_DECISIONS = ("/v1/decisions", "/v1/decisions/batch", "/v1/withdrawals/spoken")
_LIVE = "live"
_OF = "destination"

REVOCATIONS = query("propagator", "propagation_latency_seconds_count", "count", by=_OF, class_=_LIVE, action="suppress")
IN_TIME = query(
    "propagator", "propagation_latency_seconds_bucket", "count", by=_OF, class_=_LIVE, action="suppress", le="5.0"
)
OLDEST = query("propagator", "propagation_oldest_pending_revocation_seconds", "max", by=_OF, class_=_LIVE)
WAITING = query("propagator", "propagation_backlog", "sum", by=_OF, class_=_LIVE, kind="suppress")
BACKLOG_LIVE = query("propagator", "propagation_backlog", "sum", by=_OF, class_=_LIVE)
BACKLOG_BULK = query("propagator", "propagation_backlog", "sum", by=_OF, class_="bulk")
DOWN = query("propagator", "propagation_breaker_open", "max", by=_OF)
VERIFIED = query("propagator", "propagation_destination_verified", "min", by=_OF)
PAUSED = query("propagator", "propagation_destination_paused", "max", by=_OF)
IMPOSSIBLE = query("propagator", "propagation_impossible_revocations", "max", by=_OF)
QUARANTINED = query("propagator", "propagation_quarantined_targets", "max", by=_OF)
INEFFECTIVE = query("propagator", "propagation_ineffective_targets", "max", by=_OF)
DELIVERED_UNTIL = query("propagator", "propagation_delivered_until_timestamp_seconds", "max", by=_OF)
ACTIVE_SENDERS = query("propagator", "propagation_active_sender", "sum", by="propagator")
LIST_AGE = query("lag", "list_resolved_age_seconds", "max", lane=_LIVE)
INBOUND_LIST_AGE = query("lag", "list_resolved_age_seconds", "max", lane="inbound_live")
HOLES = query("relay", "holes_open", "max")
OPEN_TRANSACTION = query("lag", "last_stable_offset_stalled_seconds", "max")
LAG_MEASURED_AGO = query("lag", "consumer_lag_scrape_age_seconds", "max")
LAG = replace(
    query("lag", "consumer_lag_seconds", "max", by="group"),
    without=(("topic", (Topics().inbound_bulk, Topics().changes_bulk)),),
)
"""An import takes its time; topics have the installation's prefix before their names."""
GATE_USABLE = query("gate", "gate_view_usable", "min", by="channel")
OUTBOX_AGE = query("api", "api_outbox_oldest_age_seconds", "max", lane=_LIVE)
"""As the API sees it: also while no relay runs."""
OVERDUE = query("api", "rights_requests_overdue", "max", by="kind")
OLDEST_REQUEST = query("api", "rights_requests_oldest_age_seconds", "max", by="kind")
WEBHOOKS_REFUSED = query(
    "api",
    "api_inbound_webhooks_total",
    "count",
    by="source",
    outcome=("bad_signature", "unsigned", "unreadable", "outside_window"),
)
NOT_RECORDED = query(
    "api", "api_inbound_events_total", "count", by="source", outcome=("unreadable", "no_address", "not_recorded")
)
PAUSE_FAILURES = query("api", "api_pause_failures_total", "count")
DIFFERENCES = query(
    "relay",
    "scrub_differences_total",
    "count",
    by="kind",
    kind=(
        *("missing_entry", "missing_decision", "older_decision", "permission_without_ledger", "refusal_without_ledger"),
        *("wrong_verdict", "not_erased", "wrong_address", "unreadable_entry"),
    ),
)
COMPARED_AGO = query("relay", "scrub_last_pass_age_seconds", "min")
_PROCESSES = ("api", "relay", "ingest", "suppression", "gate", "propagator", "lag")
UNREADABLE_SECRETS = tuple(
    query(process, "secret_file_reload_errors_total", "rate", by="secret") for process in _PROCESSES
)
CERTIFICATE_ENDS = tuple(
    query(process, "secret_file_valid_until_timestamp_seconds", "min", by="secret") for process in _PROCESSES
)
CLOCKS = (
    query("api", "api_clock_offset_seconds", "abs"),
    query("relay", "outbox_clock_offset_seconds", "abs"),
    query("ingest", "ingest_clock_offset_seconds", "abs"),
    query("suppression", "suppression_clock_offset_seconds", "abs"),
    query("propagator", "propagation_clock_offset_seconds", "abs"),
    query("gate", "gate_clock_lead_seconds", "abs"),
)
REGISTERS = tuple(
    query(process, f"{process}_register_stale_at_timestamp_seconds", "min", by="register")
    for process in ("api", "gate")
)
TOKENS_REFUSED = tuple(
    query(process, "access_tokens_refused_total", "count", by="reason", reason=("unknown_key", "keys_unavailable"))
    for process in ("api", "gate")
)
STATE_DISKS = tuple(
    query(process, "state_disk_free_bytes", "min", whole="state_disk_size_bytes")
    for process in ("suppression", "propagator")
)
DELETED_UNREAD = (
    query("ingest", "ingest_skipped_records_total", "count", by="topic"),
    query("suppression", "stream_skipped_records_total", "count", by="topic"),
    query("propagator", "stream_skipped_records_total", "count", by="topic"),
)
WRONG_ENTRIES = tuple(
    query(process, "wrong_entries", "max", by="setting") for process in ("api", "ingest", "propagator")
)
DEAD_LETTERS = tuple(
    query(process, "dead_letters_total", "count", by="reason") for process in ("ingest", "suppression", "propagator")
)

OF_DESTINATION = (
    Plot(
        name="latency",
        unit="seconds",
        limit=PROMISED_SECONDS,
        lines=(
            Line(
                name="p99",
                query=query(
                    "propagator", "propagation_latency_seconds", "p99", by=_OF, class_=_LIVE, action="suppress"
                ),
            ),
            Line(
                name="p50",
                query=query(
                    "propagator", "propagation_latency_seconds", "p50", by=_OF, class_=_LIVE, action="suppress"
                ),
            ),
        ),
    ),
    Plot(name="oldest", unit="seconds", lines=(Line(query=OLDEST),), limit=60.0),
    Plot(
        name="backlog",
        unit="count",
        lines=(Line(name="live", query=BACKLOG_LIVE), Line(name="bulk", query=BACKLOG_BULK)),
    ),
)
_FINDINGS = (
    *(
        REVOCATIONS,
        IN_TIME,
        OLDEST,
        WAITING,
        BACKLOG_LIVE,
        BACKLOG_BULK,
        DOWN,
        VERIFIED,
        PAUSED,
        IMPOSSIBLE,
        QUARANTINED,
    ),
    *(INEFFECTIVE, DELIVERED_UNTIL, ACTIVE_SENDERS, LIST_AGE, INBOUND_LIST_AGE, HOLES, OPEN_TRANSACTION),
    *(LAG_MEASURED_AGO, LAG, GATE_USABLE, OUTBOX_AGE, OVERDUE, *WRONG_ENTRIES, *DEAD_LETTERS),
    *(OLDEST_REQUEST, WEBHOOKS_REFUSED, NOT_RECORDED, PAUSE_FAILURES, DIFFERENCES, COMPARED_AGO, *UNREADABLE_SECRETS),
    *(*CERTIFICATE_ENDS, *CLOCKS, *REGISTERS, *TOKENS_REFUSED, *STATE_DISKS, *DELETED_UNREAD),
)


def stages(topics: Topics) -> tuple[Stage, ...]:
    """The path of an event, in its order."""

    def lag(group: str, *of: str) -> Query:
        return query("lag", "consumer_lag_seconds", "max", group=topics.group(group), topic=of)

    return (
        Stage(
            name="request",
            plots=(
                _rate(
                    Line(name="http", query=query("api", "api_decisions_total", "rate")),
                    Line(name="kafka", query=query("ingest", "ingest_records_total", "rate", topic=_inbound(topics))),
                ),
                _latency(query("api", "api_request_seconds", "p99", route=_DECISIONS)),
                _lag(lag("consent-api-inbound", topics.inbound), limit=60.0),
            ),
        ),
        Stage(
            name="ledger",
            plots=(
                _rate(
                    Line(name="http", query=query("api", "api_decisions_total", "rate", outcome="recorded")),
                    Line(
                        name="kafka",
                        query=query(
                            "ingest", "ingest_records_total", "rate", topic=_inbound(topics), outcome="recorded"
                        ),
                    ),
                ),
                _latency(query("ingest", "ingest_batch_seconds", "p99", topic=_inbound(topics))),
                _lag(query("api", "api_inbound_resolved_age_seconds", "max", lane=_LIVE), limit=60.0),
            ),
        ),
        Stage(
            name="relay",
            plots=(
                _rate(
                    Line(
                        name="live",
                        query=query(
                            "relay", "outbox_published_total", "rate", topic=topics.changes, outcome="published"
                        ),
                    ),
                    Line(
                        name="bulk",
                        query=query(
                            "relay", "outbox_published_total", "rate", topic=topics.changes_bulk, outcome="published"
                        ),
                    ),
                ),
                _latency(query("relay", "outbox_batch_seconds", "p99", lane=_LIVE)),
                _lag(OUTBOX_AGE, limit=10.0),
            ),
        ),
        Stage(
            name="changes",
            plots=(
                _rate(
                    Line(name="live", query=query("suppression", "stream_records_total", "rate", topic=topics.changes)),
                    Line(
                        name="bulk",
                        query=query("suppression", "stream_records_total", "rate", topic=topics.changes_bulk),
                    ),
                ),
                Plot(
                    name="unread",
                    unit="count",
                    lines=(
                        Line(
                            query=query(
                                "lag",
                                "consumer_lag_records",
                                "sum",
                                group=topics.group("suppression"),
                                topic=(topics.changes, topics.changes_bulk),
                            )
                        ),
                    ),
                ),
                _lag(lag("suppression", topics.changes), limit=60.0),
            ),
        ),
        Stage(
            name="merge",
            plots=(
                _rate(
                    Line(name="live", query=query("suppression", "suppression_records_total", "rate", lane=_LIVE)),
                    Line(name="bulk", query=query("suppression", "suppression_records_total", "rate", lane="bulk")),
                ),
                _latency(query("suppression", "suppression_transaction_seconds", "p99")),
                _lag(query("suppression", "suppression_resolved_age_seconds", "max", lane=_LIVE), limit=STALE_SECONDS),
            ),
        ),
        Stage(
            name="list",
            plots=(
                _rate(Line(query=query("suppression", "suppression_entries_written_total", "rate"))),
                _latency(query("gate", "gate_check_seconds", "p99")),
                _lag(LIST_AGE, limit=STALE_SECONDS),
            ),
        ),
        Stage(
            name="propagator",
            plots=(
                _rate(Line(query=query("propagator", "propagation_pushes_total", "rate"))),
                Plot(
                    name="pending",
                    unit="count",
                    lines=(
                        Line(name="live", query=query("propagator", "propagation_backlog", "sum", class_=_LIVE)),
                        Line(name="bulk", query=query("propagator", "propagation_backlog", "sum", class_="bulk")),
                    ),
                ),
                _lag(
                    query("propagator", "propagation_oldest_pending_revocation_seconds", "max", class_=_LIVE),
                    limit=60.0,
                ),
            ),
        ),
        Stage(
            name="tool",
            plots=(
                _rate(
                    Line(name="ok", query=query("propagator", "propagation_calls_total", "rate", result="ok")),
                    Line(
                        name="not_ok",
                        query=query(
                            "propagator",
                            "propagation_calls_total",
                            "rate",
                            result=("partial", "down", "throttled", "misconfigured", "refused", "not_allowed", "error"),
                        ),
                    ),
                ),
                Plot(
                    name="known",
                    unit="seconds",
                    limit=PROMISED_SECONDS,
                    lines=tuple(
                        Line(
                            name=each,
                            query=query(
                                "propagator", "propagation_latency_seconds", each, class_=_LIVE, action="suppress"
                            ),
                        )
                        for each in ("p99", "p50")
                    ),
                ),
                Plot(
                    name="retries",
                    unit="rate",
                    lines=(Line(query=query("propagator", "propagation_retries_total", "rate")),),
                ),
            ),
        ),
        Stage(
            name="receipt",
            plots=(
                _rate(Line(query=query("propagator", "propagation_receipts_total", "rate"))),
                _latency(query("ingest", "ingest_batch_seconds", "p99", topic=topics.receipts)),
                _lag(lag("consent-api-receipts", topics.receipts), limit=60.0),
            ),
        ),
    )


def queries_of(path: Sequence[Stage]) -> list[Query]:
    """Everything that is asked."""
    return [*_of_plots([plot for stage in path for plot in stage.plots]), *_of_plots(OF_DESTINATION), *_FINDINGS]


def _of_plots(plots: Sequence[Plot]) -> Iterator[Query]:
    return (line.query for plot in plots for line in plot.lines)


def _inbound(topics: Topics) -> tuple[str, str]:
    return topics.inbound, topics.inbound_bulk


def _rate(*lines: Line) -> Plot:
    return Plot(name="rate", unit="rate", lines=lines)


def _latency(asked: Query) -> Plot:
    return Plot(name="latency", unit="seconds", lines=(Line(name="p99", query=asked),))


def _lag(asked: Query, *, limit: float) -> Plot:
    return Plot(name="lag", unit="seconds", lines=(Line(query=asked),), limit=limit)
