"""`make drill`: causes the fault behind each alert, follows the runbook, and writes docs/drill.md."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import click

from local_stack.servers import ServerEndpoints
from local_stack.stack import Stack
from tests.conftest import RUNNING, own_database, own_servers
from tests.drill.drill import Observed, carry_out
from tests.drill.drills import DRILLS
from tests.drill.report import page
from tests.drill.session import session
from tests.support import inbound_sources

DOCS = Path(__file__).parents[2] / "docs" / "drill.md"


@click.command()
@click.argument("alerts", nargs=-1, metavar="[ALERT]...")
def drill(alerts: tuple[str, ...]) -> None:
    """Cause the fault behind each ALERT (without one: all of them) on a running system, wait until it fires, run the
    steps of docs/runbooks.md as they are written there, and wait until it is gone.

    After a run of all docs/drill.md is written. The first that does not end ends the run, with exit code 1.
    """
    chosen = [each for each in DRILLS if not alerts or set(alerts) & set(each.alerts)]
    if missing := set(alerts) - {name for each in chosen for name in each.alerts}:
        raise click.UsageError(f"not drilled: {', '.join(sorted(missing))}")
    observed: list[Observed] = []
    with tempfile.TemporaryDirectory(prefix="consent-relay-drill-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)  # PostgreSQL runs as a user of its own
        with system(directory) as stack, session(stack, directory, _say) as scene:
            for each in chosen:
                observed += carry_out(each, scene)
    if not alerts:
        DOCS.write_text(page(observed), "utf-8")
        _say(f"written to {DOCS}")


@contextmanager
def system(directory: Path) -> Iterator[Stack]:
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
        }
        stack = opened.enter_context(Stack(directory / "system", environ=environ, report=_say))
        stack.start()
        yield stack


_BEGUN = time.monotonic()


def _say(text: str) -> None:
    print(f"[{time.monotonic() - _BEGUN:6.1f} s] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    drill()
