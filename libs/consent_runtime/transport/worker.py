"""Several streams in one process and one loop, until a signal or a failure."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence

from mode import Worker

from .app import ChunkApp

logger = logging.getLogger(__name__)

STOP_SECONDS = 30.0
EXIT_STUCK = 70


class StreamsWorker(Worker):
    """mode's worker (signals, crash handling), that leaves logging to us and never hangs at the end."""

    def __init__(self, *apps: ChunkApp, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(*apps, override_logging=False, redirect_stdouts=False, quiet=True, loop=loop)
        self._last_resort = threading.Timer(STOP_SECONDS, _give_up)
        self._last_resort.daemon = True

    async def on_stop(self) -> None:
        self._last_resort.start()
        await super().on_stop()

    def ended(self) -> None:
        self._last_resort.cancel()


def run(apps: Sequence[ChunkApp]) -> int:
    """Run the apps until SIGTERM or SIGINT (drain, then 0) or until one of them fails (1).

    A process that does not come to its end within 30 s is ended with 70: all that is acknowledged is
    committed or will be done again.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = StreamsWorker(*apps, loop=loop)
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    finally:
        worker.ended()
        asyncio.set_event_loop(None)


def _give_up() -> None:
    logger.critical("the streams did not stop within %.0f s; ending the process", STOP_SECONDS)
    os._exit(EXIT_STUCK)
