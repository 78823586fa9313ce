"""Runs the loops of one process, each in a thread, until a signal; a loop that crashes ends the process loudly."""

import logging
import signal
import threading
from collections.abc import Callable, Collection, Mapping
from types import FrameType

from consent_kafka import provisioning
from consent_kafka.errors import TopicMismatchError
from consent_service.errors import LinkRefusedError
from consent_service.exits import exit_with_errors
from consent_service.health import Health
from consent_service.settings import ProcessSettings
from consent_service.stopping import join_all

log = logging.getLogger(__name__)

Loop = Callable[[threading.Event], None]

GRACE_SECONDS = 25.0
"""Loops that have not ended so long after the stop event will not: the process exits without them, and what they had in
progress is repeated by the next process."""


def wait_for_topics(
    loop: Loop, settings: ProcessSettings, topics: Collection[str], *, health: Health, part: str
) -> Loop:
    """Wraps `loop` so that it starts only after the settings of these topics were verified. Until then its part is not
    ready, and the health page has the reason. Raises TopicMismatchError where one has other settings,
    LinkRefusedError."""

    def run(stop: threading.Event) -> None:
        def waiting(reason: str) -> None:
            health.heartbeat(part)
            if reason:
                health.set_ready(part, reason)

        if provisioning.wait_for_topics(settings, topics, stop=stop, waiting=waiting):
            loop(stop)

    return run


def run_until_signal(loops: Mapping[str, Loop]) -> int:
    """Call from the main thread. Each loop gets an event that is set on SIGTERM or SIGINT, or when another loop ends.

    Returns the exit code: 0 after a signal and an orderly end, 1 when a loop crashed or hung. Topics with wrong
    settings end the process with 2 and a line for each difference; so does a server that refuses it.
    """
    stop = threading.Event()
    crashed: list[str] = []
    wrong: list[str] = []

    def on_signal(signum: int, _: FrameType | None) -> None:
        log.info("stopping", extra={"signal": signal.Signals(signum).name})
        stop.set()

    def guarded(name: str, loop: Loop) -> None:
        try:
            loop(stop)
        except (TopicMismatchError, LinkRefusedError) as error:
            wrong.append(str(error))
        except Exception:
            crashed.append(name)
            log.critical("loop crashed", extra={"loop": name}, exc_info=True)
        finally:
            stop.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, on_signal)
    threads = [
        threading.Thread(target=guarded, args=(name, loop), name=name, daemon=True) for name, loop in loops.items()
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    if hung := join_all(threads, seconds=GRACE_SECONDS):
        log.critical("loops did not end in time", extra={"loops": hung})
    if wrong:
        exit_with_errors(dict.fromkeys(wrong))
    return 1 if crashed or hung else 0
