"""How long the transport waits before it gives up, in seconds, and how these depend on each other."""

SESSION_SECONDS = 8.0
"""A member that the broker has not heard of for so long loses its partitions."""
MAX_POLL_SECONDS = 60.0
"""A member whose loop does not turn for so long leaves its group: it hangs."""
DRAIN_SECONDS = 2.0
"""A handler has so long to finish before `process` is cancelled."""
CLOSE_SECONDS = 8.0
"""The cancelled `process`, and then `close`, may take so long each; a handler that takes longer ends the process."""
STOP_SECONDS = 30.0
"""A process whose streams have not stopped by then ends without them."""


def longest_stop(*, drain: float, close: float) -> float:
    """A partition that is given up has stopped by then, or has ended the process."""
    return drain + 2 * close


assert longest_stop(drain=DRAIN_SECONDS, close=CLOSE_SECONDS) < STOP_SECONDS
