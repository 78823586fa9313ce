"""The health pages of running processes: idle is alive, a frozen event loop is not, and what thaws goes on."""

from __future__ import annotations

import time
from contextlib import ExitStack

import httpx

from local_stack.stack import Stack
from tests.support.frozen_thread import frozen_thread
from tests.support.waiting import until

LOOPS = ("api", "gate", "suppression", "propagator")
"""Those whose event loop is the main thread."""
DEAD_SECONDS, DETECTION_SECONDS = 30.0, 8.0


def page(system: Stack, name: str, path: str) -> tuple[int, str]:
    """Its status and text; 0 where a process hangs so that not even its pages answer."""
    try:
        answer = httpx.get(f"{system.endpoints.metrics[name]}{path}", timeout=3)
    except httpx.TimeoutException:
        return 0, ""
    return answer.status_code, answer.text


def test_a_frozen_event_loop_fails_liveness_within_30_seconds_and_an_idle_one_never(system: Stack) -> None:  # R41
    for name in system.endpoints.metrics:
        assert page(system, name, "/startupz") == (200, "ok\n"), name
        assert page(system, name, "/healthz") == (200, "ok\n"), name
    idle = [name for name in system.endpoints.metrics if name not in LOOPS]
    with ExitStack() as frozen:
        for name in LOOPS:
            frozen.enter_context(frozen_thread(system.endpoints.pids[name]))
        began = time.monotonic()
        until(
            lambda: all(page(system, name, "/healthz")[0] != 200 for name in LOOPS),
            seconds=DEAD_SECONDS + DETECTION_SECONDS,
            what="frozen processes that are not alive",
            every=0.5,
        )
        assert time.monotonic() - began > DEAD_SECONDS / 2
        assert "no sign of life" in page(system, "api", "/healthz")[1]
        assert [page(system, name, "/healthz")[0] for name in idle] == [200] * len(idle)
    until(
        lambda: all(page(system, name, path)[0] == 200 for name in LOOPS for path in ("/healthz", "/readyz")),
        seconds=120,
        what="processes that go on",
        every=0.5,
    )
