"""Where an operator types: the variables of `consent-relay env`, its command, Kafka's, and one that restarts."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from local_stack.servers.java import BRIEF, java
from local_stack.servers.packages import installed
from local_stack.servers.postgres import program
from local_stack.stack import Stack
from tests.drill.runbook import Step

STEP_SECONDS = 180.0
SEEN = (0, 1, 2)
"""Exit codes of what is only seen: those by which our commands report that something is wrong."""


class StepFailedError(AssertionError):
    """A step of the runbook did not work as it is written."""


class Shell:
    """Runs steps, each in a bash of its own."""

    def __init__(self, stack: Stack, directory: Path, restart_url: str) -> None:
        programs = directory / "bin"
        programs.mkdir()
        _script(programs / "restart", f'{sys.executable} -c {shlex.quote(_ASK)} {restart_url}/"$1"')
        _script(programs / "editor", f'{sys.executable} -c {shlex.quote(_ADD_PURPOSE)} "$1"')
        jars = f"{installed('kafka-tools')}/*:{installed('kafka')}/*"
        tool = java(heap="256m", arguments=[BRIEF, "-cp", jars, _TRANSACTIONS])
        _script(programs / "kafka-transactions.sh", f'{shlex.join(tool)} "$@"')
        _script(programs / "psql", f'{shlex.quote(str(program("psql")))} "$@"')
        self._variables = subprocess.run(
            [Path(sys.executable).with_name("consent-relay"), "env", "--directory", str(stack.directory)],
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=True,
        ).stdout
        self._directory = directory
        self._path = f"{programs}:{os.environ['PATH']}"

    def run(self, step: Step, script: str) -> str:
        """What it prints. Raises StepFailedError."""
        ended = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{self._variables}\n{script}"],
            cwd=self._directory,
            env={**os.environ, "PATH": self._path, "EDITOR": "editor"},
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        well = ended.returncode == 0 if step.changes else ended.returncode in SEEN and bool(ended.stdout)
        if not well:
            printed = ended.stdout + ended.stderr
            raise StepFailedError(f"step {step.name} ended with exit code {ended.returncode}:\n{script}\n{printed}")
        return ended.stdout


_ASK = "import sys, urllib.request; urllib.request.urlopen(urllib.request.Request(sys.argv[1], method='POST')).read()"
_ADD_PURPOSE = """
import sys, pathlib, yaml
file = pathlib.Path(sys.argv[1])
declared = yaml.safe_load(file.read_text())
purposes = next(each for each in declared["destinations"] if each["name"] == "twilio-fr")["purposes"]
purposes["winback"] = "MG00000000000000000000000000000004"
file.write_text(yaml.safe_dump(declared, sort_keys=False))
"""
_TRANSACTIONS = "org.apache.kafka.tools.TransactionsCommand"


def _script(file: Path, command: str) -> None:
    file.write_text(f"#!/bin/sh\nexec {command}\n")
    file.chmod(0o700)


@contextmanager
def restarting(stack: Stack) -> Iterator[str]:
    """An address; POST to it with a process's name appended kills that and starts it, as a supervisor would."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = self.path.removeprefix("/")
            known = name in stack.supervisor.names
            if known:
                stack.restart(name)
            self.send_response(200 if known else 404)
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Not at all: the drill has lines of its own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="restarts")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
