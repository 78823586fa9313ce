"""How much processor time a running system has used, its servers included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil

from local_stack.stack import Stack
from tests.bench.figures import Servers


class ProcessorTime:
    """Of the services of `stack` and of the servers, which no other program may use meanwhile."""

    def __init__(self, stack: Stack, servers: Servers) -> None:
        self._stack = stack
        self._servers = server_processes(
            {"kafka": servers.kafka, "registry": servers.registry, "postgres": servers.database}
        )

    @contextmanager
    def measured(self) -> Iterator[dict[str, float]]:
        """Holds the seconds that the block took of all processors, by service and server, once it has ended."""
        seconds: dict[str, float] = defaultdict(float)
        before = self._used()
        yield seconds
        for process, used in self._used().items():
            seconds[process[0]] += used - before.get(process, 0.0)

    def _used(self) -> dict[tuple[str, int], float]:
        """By part and process. One that has begun since the last time counts from nothing; one that has ended is not
        known."""
        found: dict[tuple[str, int], float] = {}
        for name, root in (*self._servers.items(), *self._stack.endpoints.pids.items()):
            try:
                for each in (root_process := psutil.Process(root), *root_process.children(recursive=True)):
                    spent = each.cpu_times()
                    found[name, each.pid] = spent.user + spent.system
            except psutil.NoSuchProcess:
                continue
        return found


def server_processes(urls: Mapping[str, str]) -> dict[str, int]:
    """By name the processes that listen at these addresses, other than those that have inherited one from their
    parent."""
    names = {urlsplit(f"//{url.rpartition('//')[2]}").port: name for name, url in urls.items()}
    found = {
        each.pid: names[each.laddr.port]
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port in names and each.pid is not None
    }
    roots = {name: each for each, name in found.items() if psutil.Process(each).ppid() not in found}
    if len(roots) != len(names):
        raise RuntimeError(f"of the servers {sorted(names.values())} only {sorted(roots)} were found")
    return roots
