"""How a tool's lists are, for the Prometheus that scrapes the tool. It alone requires `prometheus_client`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from consent_client.view import ViewState


class HasState(Protocol):
    """A `SuppressionList`, or an `AsyncSuppressionList` that is open."""

    @property
    def state(self) -> ViewState: ...


class ListMetrics(Collector):
    """Read at each scrape: `REGISTRY.register(ListMetrics({"sms": list_}))`."""

    def __init__(self, lists: Mapping[str, HasState]) -> None:
        """`lists`: by channel."""
        self._lists = MappingProxyType(dict(lists))

    def collect(self) -> Iterable[GaugeMetricFamily]:
        usable = GaugeMetricFamily(
            "consent_relay_client_list_usable",
            "1 while this tool can ask its list for every address of the channel; 0 while it is loading, too old or has"
            " a hole, so that it sends to no one, or not to some.",
            labels=["channel"],
        )
        age = GaugeMetricFamily(
            "consent_relay_client_list_age_seconds",
            "How old the ledger is that this list reflects, in its oldest partition. Absent while it is not known.",
            labels=["channel"],
        )
        for channel, each in self._lists.items():
            state = each.state
            usable.add_metric([channel], state.usable)
            if state.age_seconds is not None:
                age.add_metric([channel], state.age_seconds)
        return usable, age
