"""How old registers are, for an alert."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge

from consent_api.registers.age import RegisterAge


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterMetrics:
    """``register``: its name in the file, so there are few. Moments rather than ages: they stay true while the database
    does not answer."""

    as_of: Gauge
    stale_at: Gauge

    @classmethod
    def on(cls, registry: CollectorRegistry) -> RegisterMetrics:
        return cls(
            as_of=Gauge(
                "consent_relay_api_register_as_of_timestamp_seconds",
                "When the register was issued that was loaded last; 0: none was. Of each in"
                " CONSENT_RELAY_REGISTERS_FILE.",
                ["register"],
                registry=registry,
            ),
            stale_at=Gauge(
                "consent_relay_api_register_stale_at_timestamp_seconds",
                "When the register becomes older than it may be; 0: none was loaded, or not for all that it declares"
                " now; +Inf: never, as it has ended. In the past: load a newer one (consent-relay registers load);"
                " gates deny its purposes meanwhile.",
                ["register"],
                registry=registry,
            ),
        )

    def show(self, found: Iterable[RegisterAge]) -> None:
        for each in found:
            self.as_of.labels(each.register.name).set((each.as_of or 0) / 1_000_000)
            stale_at = math.inf if each.stale_at is None else each.stale_at / 1_000_000
            self.stale_at.labels(each.register.name).set(stale_at)
