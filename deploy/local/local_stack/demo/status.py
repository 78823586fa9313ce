"""How far everything is, read from the services' own metrics: what operations would see in Prometheus."""

from __future__ import annotations

import time
from collections.abc import Collection

import httpx

from local_stack.audit.live import tools
from local_stack.demo.view import Row
from local_stack.endpoints import Endpoints
from local_stack.scrape import Samples, over_restart, quantile, scrape, since

LATENCY = "consent_relay_propagation_latency_seconds"
CLASSES = ("live", "bulk")
SCRAPED = ("relay", "lag", "suppression", "propagator")
QUIET_GROUPS = ("consent-api-inbound", "consent-api-inbound-bulk", "consent-api-receipts")
"""Groups whose lag is 0 when nothing is on its way. The merge's never is: resolved timestamps arrive all the time."""
EVERY = 0.5
NOTHING = Samples({})

_Row = tuple[str, str]


class DemoStatus:
    """Scrapes at most every EVERY seconds. A process that does not answer counts as not settled."""

    def __init__(self, endpoints: Endpoints, *, but: Collection[str] = ()) -> None:
        """`but`: destinations that are down on purpose, and not waited for."""
        self._endpoints = endpoints
        self._but = frozenset(but)
        self._tools = tools(endpoints)
        self._scraped: dict[str, Samples] = {}
        self._next = 0.0
        self._scraped_at = 0.0
        self._before: dict[_Row, list[tuple[float, float]]] = {}
        self._last: dict[_Row, list[tuple[float, float]]] = {}
        self._latencies: dict[_Row, list[tuple[float, float]]] = {}
        self._delivered: dict[_Row, int] = {}
        self._quiet_since: float | None = None

    def begin(self) -> None:
        """What was seen so far does not count: all has to be carried through from now on."""
        self._quiet_since = None

    def reload_tools(self) -> None:
        """The destinations file has changed."""
        self._tools = tools(self._endpoints)

    def mark(self) -> None:
        """Latencies are shown from here on: what came before was a bulk, not the promise."""
        self._refresh(force=True)
        self._before = {row: self._buckets(row) for row in self._rows()}
        self._latencies = {}

    def rows(self) -> list[Row]:
        """Every destination and class, now. Counts start again with a killed process; the greatest seen is shown."""
        self._refresh()
        return [self._row(*row) for row in self._rows()]

    def outbox(self) -> float:
        """Rows that Kafka has not acknowledged yet."""
        return self._of("relay").total("consent_relay_outbox_pending")

    def settled(self) -> bool:
        """Nothing is on its way, and the ledger as it was when that was first so is in every destination."""
        self._refresh(force=True)
        if self._pending():
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = time.time()
        return not self._older_than(self._quiet_since)

    def waiting_for(self) -> str:
        """What is still on its way; empty when nothing is."""
        return self._pending() or (self._older_than(self._quiet_since) if self._quiet_since is not None else "")

    def _pending(self) -> str:
        silent = [name for name in SCRAPED if name not in self._scraped]
        if silent:
            return f"{', '.join(silent)} to answer"
        lag, propagator = self._of("lag"), self._of("propagator")
        prefix = self._endpoints.topic_prefix
        parts = {
            "outbox rows": self.outbox(),
            "records of lag": sum(
                lag.total("consent_relay_consumer_lag_records", group=f"{prefix}{group}") for group in QUIET_GROUPS
            ),
            "pushes": sum(
                propagator.total(name, destination=tool.destination)
                for tool in self._tools
                if tool.destination not in self._but
                for name in ("consent_relay_propagation_backlog", "consent_relay_propagation_calls_in_flight")
            ),
        }
        return ", ".join(f"{count:,.0f} {name}" for name, count in parts.items() if count)

    def _older_than(self, moment: float) -> str:
        """What has not been carried up to this moment (seconds since the epoch) yet."""
        ages = self._of("suppression").values.get("consent_relay_suppression_resolved_age_seconds")
        carried = {
            "the list": self._scraped_at - max(ages.values()) if ages else None,
            **{
                tool.destination: self._of("propagator").least(
                    "consent_relay_propagation_delivered_until_timestamp_seconds", destination=tool.destination
                )
                for tool in self._tools
                if tool.destination not in self._but
            },
        }
        return ", ".join(
            f"{what} to reach {moment:.1f} ({'unknown' if at is None else f'{at:.1f}'})"
            for what, at in carried.items()
            if at is None or at <= moment
        )

    def _rows(self) -> list[_Row]:
        return [(tool.destination, each) for tool in self._tools for each in CLASSES]

    def _buckets(self, row: _Row) -> list[tuple[float, float]]:
        """Of withdrawals: for them the promise is made."""
        return self._of("propagator").buckets(LATENCY, action="suppress", **_labels(row))

    def _row(self, destination: str, delivery_class: str) -> Row:
        row, propagator = (destination, delivery_class), self._of("propagator")
        delivered = int(propagator.total(f"{LATENCY}_count", **_labels(row)))
        self._delivered[row] = max(delivered, self._delivered.get(row, 0))
        buckets = self._buckets(row)
        self._before[row] = over_restart(self._before.get(row, []), self._last.get(row, []), buckets)
        self._last[row] = buckets or self._last.get(row, [])
        observed = since(buckets, self._before[row])
        if observed and observed[-1][1] > 0:
            self._latencies[row] = observed
        latencies = self._latencies.get(row, [])
        down = propagator.total("consent_relay_propagation_breaker_open", destination=destination)
        return Row(
            destination=destination,
            delivery_class=delivery_class,
            delivered=self._delivered[row],
            p50=quantile(latencies, 0.5),
            p99=quantile(latencies, 0.99),
            oldest_pending=propagator.greatest(
                "consent_relay_propagation_oldest_pending_revocation_seconds", **_labels(row)
            ),
            backlog=propagator.total("consent_relay_propagation_backlog", **_labels(row)),
            state="no answer" if "propagator" not in self._scraped else "down" if down else "up",
        )

    def _of(self, process: str) -> Samples:
        return self._scraped.get(process, NOTHING)

    def _refresh(self, *, force: bool = False) -> None:
        if not force and time.monotonic() < self._next:
            return
        self._scraped, self._scraped_at = {}, time.time()
        for process in SCRAPED:
            try:
                self._scraped[process] = scrape(f"{self._endpoints.metrics[process]}/metrics")
            except httpx.HTTPError:
                continue
        self._next = time.monotonic() + EVERY


def _labels(row: _Row) -> dict[str, str]:
    return {"destination": row[0], "class": row[1]}
