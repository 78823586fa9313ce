"""`destinations list`: what an operator reads about each destination, from the propagator's metrics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from propagator.cli.destinations import destinations
from propagator.cli.status import parse_metrics, rates_of, table
from propagator.metrics import Metrics

pytestmark = pytest.mark.long
"""Most start and stop a real server."""

NOW = 1_800_000_000.0
P = "consent_relay_propagation_"
BUSY = f"""\
{P}destination_verified{{destination="twilio-fr"}} 1
{P}destination_paused{{destination="twilio-fr"}} 0
{P}breaker_open{{destination="twilio-fr"}} 0
{P}backlog{{destination="twilio-fr",class="live",kind="suppress"}} 12
{P}backlog{{destination="twilio-fr",class="live",kind="permit"}} 3
{P}backlog{{destination="twilio-fr",class="bulk",kind="suppress"}} 100000
{P}backlog{{destination="twilio-fr",class="bulk",kind="record"}} 7
{P}pushes_total{{destination="twilio-fr",action="suppress",outcome="accepted"}} 1000
{P}pushes_total{{destination="twilio-fr",action="permit",outcome="accepted"}} 100
{P}pushes_total{{destination="twilio-fr",action="permit",outcome="refused"}} 5000
{P}oldest_pending_revocation_seconds{{destination="twilio-fr",class="live"}} 1.25
{P}oldest_pending_revocation_seconds{{destination="twilio-fr",class="bulk"}} 9000
{P}delivered_until_timestamp_seconds{{destination="twilio-fr"}} {NOW - 2}
process_cpu_seconds_total 3
"""
IDLE = f"""\
{P}destination_verified{{destination="crm"}} 1
{P}pushes_total{{destination="crm",action="suppress",outcome="accepted"}} 5
"""
STANDBY = f"""\
{P}pushes_total{{destination="crm",action="suppress",outcome="accepted"}} 0
"""
"""As it counts from its start on."""


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_table_shows_backlog_by_class_rate_drain_time_and_age() -> None:
    found = parse_metrics(BUSY)
    lines = table(found, {"twilio-fr": 25.0}, now=NOW)
    assert cells(lines[0]) == [
        "DESTINATION",
        "STATE",
        "LIVE",
        "BULK",
        "RECORDS",
        "RATE",
        "DRAINS IN",
        "OLDEST LIVE",
        "DELIVERED UNTIL",
    ]
    assert cells(lines[1]) == [
        "twilio-fr",
        "verified",
        "12 / 3",
        "100,000 / 0",
        "7",
        "25.0/s",
        "67 min",
        "1.2 s",
        "2027-01-15T07:59:58Z (2.0 s ago)",
    ]


def test_a_destination_with_nothing_pending_and_an_unknown_moment() -> None:
    lines = table(parse_metrics(IDLE), {"crm": 0.0}, now=NOW)
    assert cells(lines[1]) == ["crm", "verified", "0 / 0", "0 / 0", "0", "0.0/s", "0 s", "-", "-"]


@pytest.mark.parametrize(
    ("metrics", "state"),
    [
        ({"destination_verified": 1}, "verified"),
        ({"destination_verified": 0}, "not verified"),
        ({"destination_verified": 1, "breaker_open": 1}, "down"),
        ({"destination_verified": 0, "breaker_open": 1, "destination_paused": 1}, "paused"),
    ],
)
def test_the_state_is_the_one_an_operator_has_to_know(metrics: dict[str, int], state: str) -> None:
    text = "".join(f'{P}{name}{{destination="crm"}} {value}\n' for name, value in metrics.items())
    assert parse_metrics(text)["crm"].state == state


def test_the_rate_counts_accepted_changes_of_both_actions_between_two_scrapes() -> None:
    later = BUSY.replace("} 1000\n", "} 1040\n").replace("} 100\n", "} 110\n").replace("} 5000\n", "} 9000\n")
    assert rates_of(parse_metrics(BUSY), parse_metrics(later), 2.0) == {"twilio-fr": 25.0}


def test_a_counter_that_began_again_is_no_negative_rate() -> None:
    restarted = BUSY.replace("} 1000\n", "} 1\n")
    assert rates_of(parse_metrics(BUSY), parse_metrics(restarted), 2.0) == {"twilio-fr": 0.0}


def test_it_reads_metrics_that_the_propagator_has() -> None:
    registry = CollectorRegistry()
    Metrics.on(registry)
    exported = {sample.removesuffix("_total") for sample in (family.name for family in registry.collect())}
    read = {line.partition("{")[0].removesuffix("_total") for line in BUSY.splitlines() if line.startswith(P)}
    assert read <= exported


class Page(BaseHTTPRequestHandler):
    """Serves `texts` in turn, the last one for ever."""

    texts: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def page() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(destinations, ["list", "--seconds", "0.1", *arguments])


def test_the_command_prints_the_table(page: str) -> None:
    Page.texts = [BUSY, BUSY.replace("} 1000\n", "} 1040\n")]
    result = run("--metrics", f"{page}/metrics")
    assert result.exit_code == 0, result.output
    assert "twilio-fr" in result.output
    assert "100,000 / 0" in result.output


def test_destinations_that_are_wrong_in_the_file_are_counted(page: str) -> None:  # R45
    """They are not in use, so they have no metrics of their own."""
    settings = ("PROPAGATOR_DESTINATIONS", "INBOUND_FILE")
    Page.texts = [BUSY + "".join(f'consent_relay_wrong_entries{{setting="CONSENT_RELAY_{s}"}} 2\n' for s in settings)]
    result = run("--metrics", f"{page}/metrics")
    assert result.exit_code == 0, result.output
    assert "2 of the destinations file are wrong and not in use" in result.stderr
    Page.texts = [BUSY + 'consent_relay_wrong_entries{setting="CONSENT_RELAY_PROPAGATOR_DESTINATIONS"} 0\n']
    assert "not in use" not in run("--metrics", f"{page}/metrics").output


def test_the_url_comes_from_the_settings(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Page.texts = [IDLE]
    monkeypatch.setenv("CONSENT_RELAY_METRICS_PORT", page.rpartition(":")[2])
    result = run()
    assert result.exit_code == 0, result.output
    assert "crm" in result.output


def test_a_propagator_that_cannot_be_reached_is_named_with_the_fix() -> None:
    result = run("--metrics", "http://127.0.0.1:9/metrics")
    assert result.exit_code == 1
    assert "http://127.0.0.1:9/metrics cannot be reached" in result.output
    assert "--metrics" in result.output


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("process_cpu_seconds_total 3\n", "/metrics", "names no destination: it is no propagator"),
        (f'{P}active_sender{{propagator="default"}} 0\n{STANDBY}', "/metrics", "is a standby"),
        ("<html>?</html>", "/metrics", "not in Prometheus' text format"),
        ("", "/health", "status 404"),
    ],
)
def test_a_page_of_something_else_is_named_with_the_fix(page: str, text: str, path: str, message: str) -> None:
    Page.texts = [text]
    result = run("--metrics", page + path)
    assert result.exit_code == 1
    assert message in result.output
    assert "--metrics" in result.output


def test_a_text_that_is_no_url_is_refused() -> None:
    assert "not a URL" in run("--metrics", "localhost:9469").output
