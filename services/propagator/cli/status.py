"""`consent-relay destinations list`: how far each destination is, from the metrics of the process that sends."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

PREFIX = "consent_relay_propagation_"
SECONDS = 2.0
CLASSES = ("live", "bulk")


@dataclass(kw_only=True, slots=True)
class DestinationMetrics:
    """One destination's metrics at one moment."""

    verified: bool | None = None
    paused: bool = False
    down: bool = False
    backlog: dict[tuple[str, str], int] = field(default_factory=dict)
    """By class (live, bulk) and kind (suppress, permit, record, forget)."""
    accepted: float = 0
    oldest_live_seconds: float | None = None
    delivered_until: float | None = None
    """Seconds since the epoch; None: not known."""

    @property
    def state(self) -> str:
        if self.paused:
            return "paused"
        if self.down:
            return "down"
        return "verified" if self.verified else "not verified"

    @property
    def pending_calls(self) -> int:
        """Pushes that need a call."""
        return sum(count for (_, kind), count in self.backlog.items() if kind in ("suppress", "permit"))


@click.command("list")
@click.option("--metrics", "url", metavar="URL", help="Of the process that sends. Default: from its settings.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60),
    default=SECONDS,
    show_default=True,
    help="How long the rate is measured.",
)
def list_destinations(url: str | None, seconds: float) -> None:
    """Show each destination: its state, what is pending, how fast it drains, and how far it is.

    A destination that is wrong in the file is not in use and not shown; their number is.

    Reads the metrics of the propagator that sends, by default at CONSENT_RELAY_METRICS_HOST and
    CONSENT_RELAY_METRICS_PORT. A standby sends nothing, and knows of nothing that is pending.

    \b
    STATE            verified, not verified (the log names why), down (the circuit breaker is open), paused
    LIVE, BULK       pending changes: refusals / permissions; people before imports and fills
    RECORDS          changes of the delivered state that need no call
    RATE, DRAINS IN  changes accepted a second just now, and how long the pending ones take at that rate
    OLDEST LIVE      age of the oldest live refusal that the destination has not accepted
    DELIVERED UNTIL  every live refusal recorded until then was accepted; - is not known
    """
    from consent_service import settings
    from propagator.cli.metrics_settings import MetricsSettings

    if url is None:
        loaded = settings.load(MetricsSettings)
        url = f"http://{loaded.metrics_host}:{loaded.metrics_port}/metrics"
    first = parse_metrics(_scrape(url))
    began = time.monotonic()
    time.sleep(seconds)
    text = _scrape(url)
    if is_standby(text):
        raise click.ClickException(
            f"{url} is a standby, or has just started. Give --metrics URL of the one that sends."
        )
    second = parse_metrics(text)
    if not second:
        raise click.ClickException(
            f"{url} names no destination: it is no propagator. Give --metrics URL of the one that sends."
        )
    rates = rates_of(first, second, time.monotonic() - began)
    click.echo("\n".join(table(second, rates, now=time.time())))
    if unused := wrong_destinations(text):
        click.echo(
            f"{unused} of the destinations file are wrong and not in use: /readyz of this process names each, and"
            " `consent-relay destinations check FILE` the cure",
            err=True,
        )


def _scrape(url: str) -> str:
    import urllib.error
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise click.ClickException(f"--metrics {url}: not a URL, such as http://127.0.0.1:9469/metrics")
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  (http and https only, see above)
            return bytes(response.read()).decode()
    except urllib.error.HTTPError as error:
        error.close()
        raise click.ClickException(f"{url}: status {error.code}. Give the URL of /metrics with --metrics.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise click.ClickException(
            f"{url} cannot be reached ({reason}). Is the propagator running, and is this its /metrics? Give another URL"
            " with --metrics."
        ) from None


def parse_metrics(text: str) -> dict[str, DestinationMetrics]:
    """By destination. Raises ClickException for a text that is not in Prometheus' format."""
    found: dict[str, DestinationMetrics] = {}
    for sample in _samples(text):
        name, labels = sample.name.removeprefix(PREFIX), sample.labels
        if name == sample.name or "destination" not in labels:
            continue
        one = found.setdefault(labels["destination"], DestinationMetrics())
        match name:
            case "destination_verified":
                one.verified = bool(sample.value)
            case "destination_paused":
                one.paused = bool(sample.value)
            case "breaker_open":
                one.down = bool(sample.value)
            case "backlog":
                one.backlog[labels["class"], labels["kind"]] = int(sample.value)
            case "pushes_total" if labels["outcome"] == "accepted":
                one.accepted += sample.value
            case "oldest_pending_revocation_seconds" if labels["class"] == "live":
                one.oldest_live_seconds = sample.value
            case "delivered_until_timestamp_seconds":
                one.delivered_until = sample.value
    return found


def is_standby(text: str) -> bool:
    """Whether these are the metrics of a propagator that is not the active sender. Raises as `parse_metrics`."""
    return any(each.name == f"{PREFIX}active_sender" and not each.value for each in _samples(text))


def wrong_destinations(text: str) -> int:
    """How many destinations of the file are not in use. Raises as `parse_metrics`."""
    from propagator.config.reader import SETTING

    return sum(
        int(each.value)
        for each in _samples(text)
        if each.name == "consent_relay_wrong_entries" and each.labels["setting"] == SETTING
    )


def _samples(text: str) -> list[Sample]:
    from prometheus_client.parser import text_string_to_metric_families

    try:
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except ValueError:
        raise click.ClickException("the response is not in Prometheus' text format: give --metrics URL") from None


def rates_of(
    first: Mapping[str, DestinationMetrics], second: Mapping[str, DestinationMetrics], seconds: float
) -> dict[str, float]:
    """Changes accepted a second; 0 for a counter that began again in between."""
    return {
        name: max(0.0, after.accepted - before.accepted) / seconds
        for name, after in second.items()
        if (before := first.get(name)) is not None
    }


def table(found: Mapping[str, DestinationMetrics], rates: Mapping[str, float], *, now: float) -> list[str]:
    """The lines to print, sorted by destination."""
    rows: list[Sequence[str]] = [
        ("DESTINATION", "STATE", "LIVE", "BULK", "RECORDS", "RATE", "DRAINS IN", "OLDEST LIVE", "DELIVERED UNTIL")
    ]
    for name, one in sorted(found.items()):
        rate = rates.get(name, 0.0)
        rows.append(
            (
                name,
                one.state,
                *(_by_action(one.backlog, each) for each in CLASSES),
                f"{sum(one.backlog.get((each, kind), 0) for each in CLASSES for kind in ('record', 'forget')):,}",
                f"{rate:,.1f}/s",
                _drains_in(one.pending_calls, rate),
                _duration(one.oldest_live_seconds) if one.oldest_live_seconds else "-",
                _moment(one.delivered_until, now),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _by_action(backlog: Mapping[tuple[str, str], int], class_: str) -> str:
    return f"{backlog.get((class_, 'suppress'), 0):,} / {backlog.get((class_, 'permit'), 0):,}"


def _drains_in(pending: int, rate: float) -> str:
    if not pending:
        return "0 s"
    return _duration(pending / rate) if rate else "-"


def _moment(timestamp: float | None, now: float) -> str:
    if timestamp is None:
        return "-"
    moment = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ} ({_duration(max(0.0, now - timestamp))} ago)"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 100 * 60 else f"{minutes / 1440:.0f} days"
