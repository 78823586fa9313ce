"""How much processor time a running system has used, its servers included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil

from local_stack.stack import Stack
from tests.bench.figures import Servers


class ProcessorTime:
    """Of the services of `stack` and of the servers, which no other program may use meanwhile."""

    def __init__(self, stack: Stack, servers: Servers) -> None:
        self._stack = stack
        ports = {urlsplit(f"//{url.rpartition('//')[2]}").port for url in (servers.kafka, servers.registry)}
        ports.add(urlsplit(servers.database.replace("+psycopg", "")).port)
        self._servers = _listening_on(ports)

    @contextmanager
    def measured(self) -> Iterator[list[float]]:
        """Holds the seconds that the block took of all processors, once it has ended."""
        seconds: list[float] = []
        before = self._used()
        yield seconds
        after = self._used()
        seconds.append(sum(used - before.get(pid, 0.0) for pid, used in after.items()))

    def _used(self) -> dict[int, float]:
        """By process. One that has begun since the last time counts from nothing; one that has ended is not known."""
        roots = [*self._servers, *self._stack.endpoints.pids.values()]
        found: dict[int, float] = {}
        for root in roots:
            try:
                for each in (root_process := psutil.Process(root), *root_process.children(recursive=True)):
                    spent = each.cpu_times()
                    found[each.pid] = spent.user + spent.system
            except psutil.NoSuchProcess:
                continue
        return found


def _listening_on(ports: set[int | None]) -> list[int]:
    """The processes with these ports, other than those that have inherited one from their parent."""
    found = {
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port in ports and each.pid is not None
    }
    roots = {each for each in found if psutil.Process(each).ppid() not in found}
    if len(roots) != len(ports):
        raise RuntimeError(f"of the servers at ports {sorted(map(str, ports))} only {len(roots)} were found")
    return sorted(roots)
