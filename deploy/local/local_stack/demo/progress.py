"""How far everything is, read from the services' own metrics: what operations would see in Prometheus."""

from __future__ import annotations

import time

import httpx

from local_stack.demo.view import Row
from local_stack.endpoints import Endpoints
from local_stack.scrape import Samples, quantile, scrape, since
from local_stack.tools import tools

LATENCY = "consent_relay_propagation_latency_seconds"
EVERY = 0.5
NOTHING = Samples({})


class Progress:
    """Scrapes at most every EVERY seconds. A process that does not answer counts as not settled."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._tools = tools(endpoints)
        self._scraped: dict[str, Samples] = {}
        self._next = 0.0
        self._before: dict[str, list[tuple[float, float]]] = {}
        self._latencies: dict[str, list[tuple[float, float]]] = {}
        self._told: dict[str, int] = {}
        self._looks_when_quiet: float | None = None

    def mark(self) -> None:
        """Latencies are shown from here on: what came before was a bulk, not the promise."""
        self._refresh(force=True)
        self._before = {
            tool.destination: self._of("propagator").buckets(LATENCY, destination=tool.destination)
            for tool in self._tools
        }
        self._latencies = {}

    def rows(self) -> list[Row]:
        """Every destination, now. Counts start again with a killed process; the greatest seen is shown."""
        self._refresh()
        return [self._row(tool.destination) for tool in self._tools]

    def outbox(self) -> float:
        """Rows that Kafka has not acknowledged yet."""
        return self._of("relay").total("consent_relay_outbox_pending")

    def settled(self) -> bool:
        """Nothing is on its way, and the lag process has looked twice since that was first so."""
        self._refresh(force=True)
        if self.waiting_for():
            self._looks_when_quiet = None
            return False
        looks = self._of("lag").total("consent_relay_consumer_lag_scrapes_total", outcome="done")
        if self._looks_when_quiet is None or looks < self._looks_when_quiet:  # Another lag process counts from 0.
            self._looks_when_quiet = looks
        return looks >= self._looks_when_quiet + 2

    def waiting_for(self) -> str:
        """What is still on its way; empty when nothing is."""
        silent = [name for name in ("relay", "lag", "propagator") if name not in self._scraped]
        if silent:
            return f"{', '.join(silent)} to answer"
        rows = self._of("relay").total("consent_relay_outbox_pending")
        lag = self._of("lag").total("consent_relay_consumer_lag_records")
        waiting = self._of("propagator").total("consent_relay_propagation_waiting_pushes")
        parked = self._of("propagator").total("consent_relay_propagation_parked_addresses")
        parts = {"outbox rows": rows, "records of lag": lag, "pushes": waiting, "parked addresses": parked}
        return ", ".join(f"{count:,.0f} {name}" for name, count in parts.items() if count)

    def _row(self, destination: str) -> Row:
        propagator, lag = self._of("propagator"), self._of("lag")
        told = int(
            propagator.total("consent_relay_propagation_pushes_total", destination=destination, outcome="accepted")
        )
        self._told[destination] = max(told, self._told.get(destination, 0))
        observed = since(propagator.buckets(LATENCY, destination=destination), self._before.get(destination, []))
        if observed and observed[-1][1] > 0:
            self._latencies[destination] = observed
        latencies = self._latencies.get(destination, [])
        group = f"{self._endpoints.topic_prefix}propagator.{destination}"
        down = propagator.total("consent_relay_propagation_breaker_open", destination=destination)
        return Row(
            destination=destination,
            told=self._told[destination],
            p50=quantile(latencies, 0.5),
            p99=quantile(latencies, 0.99),
            oldest_untold=propagator.greatest(
                "consent_relay_propagation_oldest_untold_revocation_seconds", destination=destination
            ),
            lag_records=lag.total("consent_relay_consumer_lag_records", group=group),
            state="no answer" if "propagator" not in self._scraped else "down" if down else "up",
        )

    def _of(self, process: str) -> Samples:
        return self._scraped.get(process, NOTHING)

    def _refresh(self, *, force: bool = False) -> None:
        if not force and time.monotonic() < self._next:
            return
        self._scraped = {}
        for process in ("relay", "lag", "propagator"):
            try:
                self._scraped[process] = scrape(f"{self._endpoints.metrics[process]}/metrics")
            except httpx.HTTPError:
                continue
        self._next = time.monotonic() + EVERY
