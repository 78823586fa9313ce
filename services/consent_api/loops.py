"""Runs the loops of one process, each in a thread, until a signal; a loop that crashes ends the process loudly."""

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType

from consent_api.errors import Misconfigured
from consent_runtime.starting import refuse

log = logging.getLogger(__name__)

Loop = Callable[[threading.Event], None]

# A loop that has not ended so long after it was told to will not: the process leaves without it, and what it had
# under way is repeated by its successor.
_GRACE = 25.0


def run_until_signal(loops: Mapping[str, Loop]) -> int:
    """Call from the main thread. Each loop gets an event that is set on SIGTERM or SIGINT, or when another loop ends.

    Returns the exit code: 0 after a signal and an orderly end, 1 when a loop crashed or hung. A loop that finds the
    installation wrong ends the process with 2.
    """
    stop = threading.Event()
    crashed: list[str] = []
    wrong: list[str] = []

    def told(signum: int, _: FrameType | None) -> None:
        log.info("stopping", extra={"signal": signal.Signals(signum).name})
        stop.set()

    def guarded(name: str, loop: Loop) -> None:
        try:
            loop(stop)
        except Misconfigured as error:
            wrong.append(str(error))
        except Exception:
            crashed.append(name)
            log.critical("loop crashed", extra={"loop": name}, exc_info=True)
        finally:
            stop.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, told)
    threads = [
        threading.Thread(target=guarded, args=(name, loop), name=name, daemon=True) for name, loop in loops.items()
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(_GRACE)
    hung = [thread.name for thread in threads if thread.is_alive()]
    if hung:
        log.critical("loops did not end in time", extra={"loops": hung})
    if wrong:
        refuse(wrong)
    return 1 if crashed or hung else 0
