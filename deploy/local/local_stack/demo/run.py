"""The demo from start to exit code."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path

from rich.console import Console

from local_stack import directory_lock
from local_stack.audit.live import audit
from local_stack.demo.personal import write_sources
from local_stack.demo.population import DECLARED_PURPOSES
from local_stack.demo.report import explain, report, visit
from local_stack.demo.scenario import DemoOptions, Scenario
from local_stack.demo.view import view
from local_stack.errors import NotSettledError
from local_stack.preference_centre import write_theme
from local_stack.processes.supervisor import Supervisor
from local_stack.servers import Servers
from local_stack.stack import Stack
from local_stack.up import stop_on_signal

_LOG_WIDTH = 140  # Columns of a line where the output is a file or a pipe: nothing of it is to be wrapped or cut.


def _clear(directory: Path) -> None:
    """Delete what an earlier demo left: its ledger would recognise a repeated seed's events."""
    if directory.exists():
        Servers(Supervisor(directory / "logs", report=print), directory / "servers").remove()
        directory_lock.clear(directory)


def run(directory: Path, options: DemoOptions) -> int:
    """0: every decision arrived everywhere. 1: a difference, or something did not start or settle."""
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    began = time.monotonic()
    _clear(directory)
    stack = Stack(
        directory,
        environ={
            "CONSENT_RELAY_PURPOSES": ",".join(DECLARED_PURPOSES),
            **write_theme(directory),
            **os.environ,
            **write_sources(directory),
        },
        report=lambda text: console.print(text, style="yellow", highlight=False),
    )
    with stop_on_signal(stack.supervisor) as request:
        console.print(
            f"starting Kafka, the registry, PostgreSQL and the services (seed {options.seed})", highlight=False
        )
        endpoints = stack.start()
        console.print(f"ready after {time.monotonic() - began:.0f} s; logs in {endpoints.logs}", highlight=False)
        visit(console, endpoints)
        with view(console) as screen, closing(Scenario(stack, options, screen)) as scenario:
            try:
                scenario.play()
            except (NotSettledError, TimeoutError) as error:
                waiting = str(error)
            else:
                waiting = ""
        if (refusal := scenario.remembered) is not None:
            explain(console, endpoints, refusal)
        console.print(f"the whole demo took {time.monotonic() - began:.0f} s", highlight=False)
        if not report(console, scenario, audit(endpoints, scenario.expected.verdicts()), waiting=waiting):
            request.code = 1
    return request.code
