"""What a tool exports about its lists."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from consent_client.metrics import ListMetrics
from consent_client.view import ViewState

USABLE, AGE = "consent_relay_client_list_usable", "consent_relay_client_list_age_seconds"


@dataclass
class AList:
    state: ViewState


def state(*, reason: str, age: float | None) -> ViewState:
    return ViewState(usable=not reason, reason=reason, age_seconds=age, entries=0, unreadable=0)


def test_a_list_is_exported_as_it_is_at_the_scrape() -> None:
    sms = AList(state(reason="loading", age=None))
    registry = CollectorRegistry()
    registry.register(ListMetrics({"sms": sms}))
    assert registry.get_sample_value(USABLE, {"channel": "sms"}) == 0
    assert registry.get_sample_value(AGE, {"channel": "sms"}) is None
    sms.state = state(reason="", age=1.5)
    assert registry.get_sample_value(USABLE, {"channel": "sms"}) == 1
    assert registry.get_sample_value(AGE, {"channel": "sms"}) == 1.5
