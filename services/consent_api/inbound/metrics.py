"""What the inbound webhooks count."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter

from consent_api.errors import RefusedWebhook
from consent_api.inbound.translation import Outcome
from consent_service.zero_series import from_zero

ACCEPTED, UNAVAILABLE = "accepted", "unavailable"


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundMetrics:
    """``source``: an id of the inbound sources file."""

    webhooks: Counter
    events: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry, *, sources: Collection[str]) -> InboundMetrics:
        metrics = cls(
            webhooks=Counter(
                "consent_relay_api_inbound_webhooks_total",
                "Webhooks of tools, by source and outcome: accepted (all of it is recorded or counted), unavailable"
                " (not recorded; answered so that the tool sends it again), or refused: unsigned, bad_signature,"
                " outside_window, replayed or unreadable. Refusals of a tool that is set up correctly: its secret was"
                " changed, and people's opt-outs are lost at tools that do not send again.",
                ["source", "outcome"],
                registry=registry,
            ),
            events=Counter(
                "consent_relay_api_inbound_events_total",
                "Events in accepted webhooks, by source and what became of them: withdrawn, needs_review (withdrawn"
                " until a person decides), repeated (known), superseded (recorded, and of no effect: by the time"
                " that the tool sends, a newer decision counts: look at its clock), echo (our own push that came back),"
                " start (grants nothing), hard_bounce (the address is undeliverable from then on), soft_bounce,"
                " delivered, other, unreadable, no_address (it names no address of the channel) or not_recorded (the"
                " ledger refused it: see the log).",
                ["source", "outcome"],
                registry=registry,
            ),
        )
        from_zero(metrics.webhooks, sources, (ACCEPTED, UNAVAILABLE, *(each.value for each in RefusedWebhook)))
        from_zero(metrics.events, sources, [each.value for each in Outcome])
        return metrics

    def event(self, source: str, outcome: Outcome, count: int = 1) -> None:
        if count:
            self.events.labels(source, outcome.value).inc(count)
