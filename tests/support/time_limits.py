"""No test lasts for ever, and no end of a run.

pytest-timeout fails a test that lasts too long (`timeout` in pyproject.toml) by a signal, and the run goes on.
"""

import faulthandler
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fuzz.budget import TIMES_SHORT
from tests.support.scheduling import started_once

WHOLE_SYSTEM_SECONDS = 900.0
FUZZ_SECONDS = 300.0
GRACE_SECONDS = 60.0
END_SECONDS = 300.0


def longer_limit(nodeid: str) -> float | None:
    """The seconds for a test that needs more than others; None: it does not."""
    folder = started_once(nodeid)
    if nodeid.startswith("tests/fuzz/"):
        return (WHOLE_SYSTEM_SECONDS if folder else FUZZ_SECONDS) * TIMES_SHORT
    return WHOLE_SYSTEM_SECONDS if folder else None


class LastResort:
    """A signal does not reach a test in a call into a library that does not return, and pytest-timeout takes it back
    when a test fails, before what it used is closed. A while later the process ends, and prints where it was: for
    pytest-xdist a worker has crashed, and others go on."""

    def __init__(self, *, grace_seconds: float = GRACE_SECONDS) -> None:
        """In pytest_configure: later, what is written to stderr is captured."""
        self._grace_seconds = grace_seconds
        self._stderr = os.dup(2)

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_set_timer(self, settings: Any) -> None:
        faulthandler.dump_traceback_later(settings.timeout + self._grace_seconds, exit=True, file=self._stderr)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def pytest_enter_pdb(self) -> None:
        faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        """Servers that do not stop, a thread that is waited for."""
        faulthandler.dump_traceback_later(END_SECONDS, exit=True, file=self._stderr)
