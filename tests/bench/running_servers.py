"""The servers that measurements run on."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from local_stack.processes.supervisor import Supervisor
from local_stack.servers import ServerEndpoints
from local_stack.servers import Servers as LocalServers
from tests.bench.figures import Servers


@contextmanager
def running_servers(console: Console) -> Iterator[Servers]:
    """Real ones: those of CONSENT_RELAY_TEST_SERVERS, or our own for the time of the block."""
    running = os.environ.get("CONSENT_RELAY_TEST_SERVERS")
    if running:
        addresses = ServerEndpoints.read(Path(running))
        yield Servers(kafka=addresses.kafka, registry=addresses.registry, database=addresses.database)
        return
    with tempfile.TemporaryDirectory(prefix="consent-relay-bench-") as directory:
        supervisor = Supervisor(Path(directory) / "logs", report=lambda text: print(text, file=sys.stderr))
        own = LocalServers(supervisor, Path(directory) / "servers", environ={})
        console.print("starting Kafka, the schema registry and PostgreSQL")
        try:
            addresses = own.start()
            yield Servers(kafka=addresses.kafka, registry=addresses.registry, database=addresses.database)
        finally:
            supervisor.stop_all()
            own.remove()
