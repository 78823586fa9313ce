"""What the scrub counts."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from consent_api.operations.verify.compare import DifferenceKind


@dataclass(frozen=True, kw_only=True, slots=True)
class ScrubMetrics:
    """`kind` is one of `compare.Kind`."""

    coverage: Gauge
    last_pass_age: Gauge
    compared: Counter
    differences: Counter
    repairs: Counter
    undecided: Counter
    failures: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry) -> ScrubMetrics:
        metrics = cls(
            coverage=Gauge(
                "consent_relay_scrub_coverage_ratio",
                "Share of the lists that the present pass has compared with the ledger, whichever relay does it; 1"
                " until the next pass begins.",
                registry=registry,
            ),
            last_pass_age=Gauge(
                "consent_relay_scrub_last_pass_age_seconds",
                "Seconds since the lists were last compared with the ledger as a whole; since this relay started, where"
                " it does not know of one. Above twice CONSENT_RELAY_SCRUB_DAYS the comparison does not get through.",
                registry=registry,
            ),
            compared=Counter(
                "consent_relay_scrub_compared_addresses_total",
                "Addresses that this relay has compared, on the list or in the ledger.",
                registry=registry,
            ),
            differences=Counter(
                "consent_relay_scrub_differences_total",
                "Differences between list and ledger that this relay has found, by kind. One is an alert: a defect, or"
                " another client wrote to a list topic; the log has the address key. Only limited (the entry was too"
                " large and was reduced) and marked (made stricter after a loss) are none.",
                ["kind"],
                registry=registry,
            ),
            repairs=Counter(
                "consent_relay_scrub_repairs_total",
                "Differences for which this relay has published the ledger's decisions again, or has ended what the"
                " ledger does not hold, by kind. The next pass finds those that this did not repair.",
                ["kind"],
                registry=registry,
            ),
            undecided=Counter(
                "consent_relay_scrub_undecided_addresses_total",
                "Addresses that seemed to differ, and whose list did not reach within 15 minutes what was recorded when"
                " the ledger was read: see the resolved timestamps.",
                registry=registry,
            ),
            failures=Counter(
                "consent_relay_scrub_failures_total",
                "Attempts of this relay to compare a part of the lists that ended with an error; the log has it. The"
                " part is tried again.",
                registry=registry,
            ),
        )
        for kind in DifferenceKind:
            metrics.differences.labels(kind)
            metrics.repairs.labels(kind)
        return metrics
