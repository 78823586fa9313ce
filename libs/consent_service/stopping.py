"""How a process waits for its threads when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection


def join_all(threads: Collection[threading.Thread], *, seconds: float) -> list[str]:
    """Wait for the threads to end, `seconds` for all of them together. The names of those that still run."""
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in threads if thread.is_alive()]
