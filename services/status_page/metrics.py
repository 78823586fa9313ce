"""The metrics of the status page itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consent_service.zero_series import from_zero
from status_page.errors import REASONS

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusMetrics:
    """Build with `on(registry)`."""

    scrapes: Counter
    turn_seconds: Histogram
    streams: Gauge
    logins: Counter
    explanations: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry, *, processes: Collection[str]) -> StatusMetrics:
        """``processes``: the kinds whose metrics are read."""
        return cls(
            scrapes=from_zero(
                Counter(
                    "consent_relay_status_scrapes_total",
                    "Reads of other processes' metrics, by process and outcome: done, refused (nothing listens there),"
                    " timed_out, status (an answer other than 200), too_large, unreadable or failed. The status page"
                    " shows a process whose last read failed as silent.",
                    ["process", "outcome"],
                    registry=registry,
                ),
                processes,
                ("done", *REASONS),
            ),
            turn_seconds=Histogram(
                "consent_relay_status_turn_seconds",
                "Time to read all processes once, at the same time. Near 2: one of them does not answer.",
                buckets=_SECONDS,
                registry=registry,
            ),
            streams=Gauge(
                "consent_relay_status_streams",
                "Browsers that the status page is pushed to now. At its bound of 32 further ones reload the page"
                " instead.",
                registry=registry,
            ),
            logins=from_zero(
                Counter(
                    "consent_relay_status_logins_total",
                    "Logins to the status page, by outcome: begun, by_link (with a link for one use), refused (no API"
                    " key with the scope operate, or a link that was used; many: someone guesses) or foreign_form (sent"
                    " by another site's page).",
                    ["outcome"],
                    registry=registry,
                ),
                ("begun", "by_link", "refused", "foreign_form"),
            ),
            explanations=from_zero(
                Counter(
                    "consent_relay_status_explanations_total",
                    "Addresses pasted into the status page, by outcome: explained, refused (the API names the fault, or"
                    " the session may not explain) or unanswered (the API does not answer).",
                    ["outcome"],
                    registry=registry,
                ),
                ("explained", "refused", "unanswered"),
            ),
        )
