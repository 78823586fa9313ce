"""Several streams in one process and one loop, until a signal or a failure."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Sequence

from mode import Worker
from mode.utils.futures import maybe_cancel

from consent_kafka.errors import PartitionStuckError, RestartRequestedError
from consent_kafka.transport.chunk_app import ChunkApp
from consent_kafka.transport.timing import STOP_SECONDS
from consent_service.errors import LinkRefusedError
from consent_service.exits import exit_with_errors

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_STUCK = 70
EXIT_RESTART = 75
"""The process is to be started again. BSD's EX_TEMPFAIL, should a caller end with it."""


class StreamsWorker(Worker):
    """mode's worker (signals, crashes), that leaves logging to us and never hangs at the end."""

    failure: BaseException | None = None
    signalled = False

    def __init__(self, *apps: ChunkApp, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(*apps, override_logging=False, redirect_stdouts=False, quiet=True, loop=loop)
        self._last_resort = threading.Timer(
            STOP_SECONDS, _exit_now, [f"the streams did not stop within {STOP_SECONDS:.0f} s"]
        )
        self._last_resort.daemon = True
        for app in apps:
            app.end_process = self.fail

    def fail(self, failure: BaseException) -> None:
        """Stop in order, as on a signal, but end with a failure.

        With a stuck handler there is no order left, and its partition must not reach another process before it ends.
        """
        if isinstance(failure, PartitionStuckError):
            _exit_now("a handler does not let go of its partition")
        if self.failure is None:
            self.failure = failure
        if self._signal_stop_time is None:
            self._signal_stop_time = self.loop.time()
            self._signal_stop_future = asyncio.ensure_future(self._stop_after_failure(), loop=self.loop)

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        self.signalled = True
        super()._schedule_shutdown(signal)

    async def _stop_after_failure(self) -> None:
        await self.stop()
        maybe_cancel(self._starting_fut)

    async def on_stop(self) -> None:
        self._last_resort.start()
        await super().on_stop()

    async def _stop_children(self) -> None:
        # All at once: each app waits for its own handlers.
        ended = await asyncio.gather(*(child.stop() for child in self._children), return_exceptions=True)
        for failure in filter(None, ended):
            log.error("an app did not stop in order", exc_info=failure)
            self.failure = self.failure or failure

    async def _sentinel_task(self) -> None:
        """mode waits a second here for nothing in particular."""

    def ended(self) -> None:
        self._last_resort.cancel()


def run(apps: Sequence[ChunkApp]) -> int:
    """Run the apps until SIGTERM or SIGINT (drain, then 0), until one of them fails (1, and the reason is logged; 2
    when a server refuses this process) or has the process started again (EXIT_RESTART, unless a signal has come).

    A process that does not come to its end within 30 s is ended with 70: what is unacknowledged is done again.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = StreamsWorker(*apps, loop=loop)
    code: str | int | None
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        code = ended.code
    except asyncio.CancelledError:
        code = EXIT_FAILED
    finally:
        worker.ended()
        asyncio.set_event_loop(None)
    reason = worker.failure or worker.crash_reason
    if isinstance(reason, RestartRequestedError):
        return 0 if worker.signalled else EXIT_RESTART
    if isinstance(reason, LinkRefusedError):
        exit_with_errors([str(reason)])
    if reason is not None:
        log.critical("the streams have failed", exc_info=reason)
        return EXIT_FAILED
    return code if isinstance(code, int) else EXIT_FAILED


def _exit_now(reason: str) -> None:
    log.critical("ending the process", extra={"reason": str(reason)})
    os._exit(EXIT_STUCK)
