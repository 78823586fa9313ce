"""A thread that reads a topic from its beginning, again whenever it cannot go on."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from consent_client.errors import RestartRequiredError
from consent_service.errors import LinkRefusedError

log = logging.getLogger(__name__)

TURN_SECONDS = 0.25
RETRY_SECONDS = 1.0


class ReadingThread:
    """Calls `read`, which reads until `stopping` is set, again after each RestartRequiredError.

    Any other exception is a fault of ours, and LinkRefusedError as the cause of the first ones a wrong setting: the
    thread ends and `failure` holds it.
    """

    def __init__(
        self,
        *,
        name: str,
        topic: str,
        read: Callable[[], None],
        on_turn: Callable[[], None],
        on_failure: Callable[[], None],
    ) -> None:
        """`on_turn` is called several times a second while the thread pauses; `read` calls it meanwhile."""
        self._topic = topic
        self._read = read
        self._on_turn = on_turn
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self.connected = False
        """To be set once the broker has let us read: from then on what it refuses may be corrected there."""
        self.restarted_for: str | None = None
        """Why the topic was last read from its beginning again."""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and waits for it."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def pause(self) -> None:
        """Wait before another try, or until the thread is to end. Raises RestartRequiredError in the latter case."""
        until = time.monotonic() + RETRY_SECONDS
        while not self.stopping.is_set() and (left := until - time.monotonic()) > 0:
            self._on_turn()
            self.stopping.wait(min(left, TURN_SECONDS))
        if self.stopping.is_set():
            raise RestartRequiredError("stopping")

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                try:
                    self._read()
                except RestartRequiredError as reason:
                    if isinstance(reason.__cause__, LinkRefusedError) and not self.connected:
                        raise reason.__cause__ from None
                    self._wait_to_start_again(reason)
        except BaseException as failure:
            self.failure = failure
            log.exception("the reading of a topic has failed", extra={"topic": self._topic})
            self._on_failure()

    def _wait_to_start_again(self, reason: RestartRequiredError) -> None:
        if not self.stopping.is_set():
            self.restarted_for = str(reason)
            log.warning("reading a topic from its beginning", extra={"topic": self._topic, "reason": str(reason)})
            with contextlib.suppress(RestartRequiredError):
                self.pause()
