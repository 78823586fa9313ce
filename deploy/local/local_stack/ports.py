"""Free TCP ports on the loopback address."""

import random
import socket

# Below the range from which Linux takes ports for outgoing connections (32768 and up): a service that is
# killed and started again must find its port free, and not lent to some connection in between.
RANGE = range(20_000, 32_000)
_taken: set[int] = set()


def free_port() -> int:
    """A port of RANGE on which nobody listens, and that this process has not handed out before."""
    for port in random.sample(RANGE, len(RANGE)):
        if port not in _taken and is_free(port):
            _taken.add(port)
            return port
    raise OSError(f"no free port between {RANGE.start} and {RANGE.stop}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
