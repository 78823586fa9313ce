"""How many requests of persons wait, and for how long."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge

from consent_api.rights.requests import Kind, OpenRequests
from consent_service.zero_series import from_zero

_NONE = OpenRequests(open=0, overdue=0, oldest=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class RightsMetrics:
    """``kind``: access, portability, rectification, erasure or objection."""

    open: Gauge
    overdue: Gauge
    oldest: Gauge

    @classmethod
    def on(cls, registry: CollectorRegistry) -> RightsMetrics:
        metrics = cls(
            open=Gauge(
                "consent_relay_rights_requests_open",
                "Requests of persons that are not answered yet, by kind, of all tenants, as this process sees them."
                " NaN while the database does not answer.",
                ["kind"],
                registry=registry,
            ),
            overdue=Gauge(
                "consent_relay_rights_requests_overdue",
                "Those of them whose legal time is over (a month, or three where extended). Above 0: answer them now;"
                " consent-relay rights list names them.",
                ["kind"],
                registry=registry,
            ),
            oldest=Gauge(
                "consent_relay_rights_requests_oldest_age_seconds",
                "Age of the oldest open request, by kind; 0 when there is none. Above 20 days: it is due soon.",
                ["kind"],
                registry=registry,
            ),
        )
        for gauge in (metrics.open, metrics.overdue, metrics.oldest):
            from_zero(gauge, Kind)
        return metrics

    def show(self, found: Mapping[Kind, OpenRequests]) -> None:
        for kind in Kind:
            of_kind = found.get(kind, _NONE)
            self.open.labels(kind.value).set(of_kind.open)
            self.overdue.labels(kind.value).set(of_kind.overdue)
            self.oldest.labels(kind.value).set(max(of_kind.oldest, 0) / 1_000_000)

    def unknown(self) -> None:
        for kind in Kind:
            for gauge in (self.open, self.overdue, self.oldest):
                gauge.labels(kind.value).set(math.nan)
