"""Free TCP ports on the loopback address, the same ones from start to start where that can be."""

import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

# Below the range from which Linux takes ports for outgoing connections (32768 and up): a service that is
# killed and started again must find its port free, and not lent to some connection in between.
RANGE = range(20_000, 32_000)
_taken: set[int] = set()


def free_port() -> int:
    """A port of RANGE on which no process listens, and that this process has not handed out before."""
    for port in random.sample(RANGE, len(RANGE)):
        if _take(port):
            return port
    raise OSError(f"no free port between {RANGE.start} and {RANGE.stop}")


def remembered_ports(file: Path, names: Sequence[str]) -> dict[str, int]:
    """A port for each name: the one that `file` remembers where it is still free, so that addresses stay."""
    known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    ports = {name: known[name] if name in known and _take(known[name]) else free_port() for name in names}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known | ports, indent=2) + "\n")
    return ports


def _take(port: int) -> bool:
    if port in _taken:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    _taken.add(port)
    return True
