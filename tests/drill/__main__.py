"""`make drill`: causes the fault behind each alert, follows the runbook, and writes docs/drill.md."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click
import httpx
from prometheus_client import CollectorRegistry, start_http_server

from consent_client import SuppressionList
from consent_client.metrics import ListMetrics
from local_stack.errors import LocalStackError
from local_stack.servers import ServerEndpoints
from local_stack.stack import Stack
from tests.conftest import RUNNING, own_database, own_servers
from tests.drill.drill import Drill, Scene, carry_out
from tests.drill.drills import drills
from tests.drill.faults import TokenCallers
from tests.drill.report import DOCS, page
from tests.drill.session import session
from tests.support import inbound_sources, registers
from tests.support.access_tokens import AUDIENCE, ISSUER

SCRUB_DAYS = "0.0002"
"""A comparison of the lists with the ledger each 17 s."""


@click.command()
@click.argument("alerts", nargs=-1, metavar="[ALERT]...")
def drill(alerts: tuple[str, ...]) -> None:
    """Cause the fault behind each ALERT (without one: all of them) on a running system, wait until it fires, run the
    steps of docs/runbooks.md as they are written there, and wait until it is gone.

    Their rows of docs/drill.md are written. Where one failed the others go on, and the exit code is 1.
    """
    with tempfile.TemporaryDirectory(prefix="consent-relay-drill-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)  # PostgreSQL runs as a user of its own
        callers = TokenCallers(directory / "jwks.json")
        chosen = [each for each in drills(callers) if not alerts or set(alerts) & set(each.alerts)]
        if missing := set(alerts) - {name for each in chosen for name in each.alerts}:
            raise click.UsageError(f"not drilled: {', '.join(sorted(missing))}")
        with (
            system(directory, callers) as stack,
            tool(stack) as jobs,
            session(stack, directory, _say, tools=jobs) as scene,
        ):
            failed = _carry_out_all(chosen, scene)
    for each in failed:
        _say(f"FAILED {each}")
    sys.exit(bool(failed))


def _carry_out_all(chosen: Sequence[Drill], scene: Scene) -> list[str]:
    """Which drills failed: the others are carried out all the same, and written to the page."""
    failed: list[str] = []
    for each in chosen:
        try:
            observed = carry_out(each, scene)
        except (AssertionError, ValueError, LocalStackError, httpx.HTTPError, subprocess.TimeoutExpired) as error:
            failed.append(f"{', '.join(each.alerts)}: {error}")
            _say(f"    FAILED: {error}")
            _make_room(each, scene)
        else:
            before = DOCS.read_text("utf-8") if DOCS.exists() else ""
            DOCS.write_text(page(observed, datetime.now(UTC).date(), before), "utf-8")
    return failed


def _make_room(failed: Drill, scene: Scene) -> None:
    """For the drills that follow: start what is down, and have others do their part, where the failed one did not come
    to that."""
    for name in scene.stack.supervisor.names:
        if not scene.stack.supervisor.child(name).running:
            scene.stack.restart(name)
    if failed.end is not None:
        with suppress(AssertionError, httpx.HTTPError):  # It is a failure already.
            failed.end(scene)


@contextmanager
def system(directory: Path, callers: TokenCallers) -> Iterator[Stack]:
    """The whole system, on servers of its own unless CONSENT_RELAY_TEST_SERVERS names some."""
    with ExitStack() as opened:
        if RUNNING in os.environ:
            servers = ServerEndpoints.read(Path(os.environ[RUNNING]))
        else:
            servers = opened.enter_context(own_servers(directory / "servers"))
        environ = {
            "CONSENT_RELAY_KAFKA": servers.kafka,
            "CONSENT_RELAY_REGISTRY": servers.registry,
            "CONSENT_RELAY_DATABASE": opened.enter_context(own_database(servers)),
            "CONSENT_RELAY_TOPIC_PREFIX": f"d{uuid4().hex[:8]}.",
            "CONSENT_RELAY_INBOUND_FILE": str(inbound_sources.write(directory)),
            registers.SETTING: str(registers.write(directory)),
            registers.GATE_SETTING: str(registers.write_exported(directory)),
            "CONSENT_RELAY_OAUTH_ISSUER": ISSUER,
            "CONSENT_RELAY_OAUTH_AUDIENCE": AUDIENCE,
            "CONSENT_RELAY_OAUTH_JWKS_FILE": str(callers.file),
            "CONSENT_RELAY_SCRUB_DAYS": SCRUB_DAYS,
        }
        stack = opened.enter_context(Stack(directory / "system", environ=environ, report=_say))
        stack.start()
        registers.load(stack.endpoints)
        registers.export(stack.endpoints)
        yield stack


@contextmanager
def tool(stack: Stack) -> Iterator[Mapping[str, str]]:
    """A tool that reads the list of SMS by the client library: its job, and where it exports its state."""
    endpoints = stack.endpoints
    registry = CollectorRegistry()
    with SuppressionList.open(
        endpoints.kafka,
        endpoints.registry,
        endpoints.key_file,
        channel="sms",
        topic_prefix=endpoints.topic_prefix,
    ) as opened:
        registry.register(ListMetrics({"sms": opened}))
        server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
        try:
            yield {"a-tool": f"http://127.0.0.1:{server.server_port}"}
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


_BEGUN = time.monotonic()


def _say(text: str) -> None:
    print(f"[{time.monotonic() - _BEGUN:6.1f} s] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    drill()
