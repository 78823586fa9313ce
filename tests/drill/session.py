"""What drills need beside the running system: Prometheus with our rules, a shell, and people who choose meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from uuid import uuid4

import httpx

from local_stack.endpoints import Endpoints
from local_stack.stack import Stack
from tests.drill.drill import Scene
from tests.drill.rules import scaled
from tests.drill.runbook import PAGE, steps
from tests.drill.shell import Shell, restarting
from tests.support.running_prometheus import RULES, SHIPPED, running
from tests.support.waiting import until

PAUSE_SECONDS = 0.5
"""Between two withdrawals: rates and lags are of what happens meanwhile."""
NUMBERS = 8_000
"""Each person withdraws once, so that there is something to deliver; that is enough for an hour."""
CHANNELS = ("sms", "email", "voice")


@contextmanager
def session(
    stack: Stack, directory: Path, say: Callable[[str], None], *, tools: Mapping[str, str] | None = None
) -> Iterator[Scene]:
    """``tools``: others that Prometheus scrapes, by job."""
    files = [directory / name for name in RULES]
    for file in files:
        file.write_text(scaled((SHIPPED / file.name).read_text("utf-8")), "utf-8")
    with (
        restarting(stack) as restart_url,
        running(directory, stack.endpoints.metrics, tools=tools, rules=files) as prometheus,
        people_choose(stack.endpoints),
        ExitStack() as undo,
    ):
        # An event before the first scrape is no increase.
        until(lambda: prometheus.query("min_over_time(min(up)[3s:1s]) == 1"), what="every process is scraped")
        yield Scene(
            stack=stack,
            prometheus=prometheus,
            shell=Shell(stack, directory, restart_url),
            steps=steps(PAGE.read_text("utf-8")),
            values={
                "broker": stack.endpoints.kafka,
                "restart": "restart",
            },
            say=say,
            undo=undo,
        )


@contextmanager
def people_choose(endpoints: Endpoints) -> Iterator[None]:
    """A withdrawal every half second. What is not answered is not repeated: faults are the drill's business."""
    stop = threading.Event()
    thread = threading.Thread(target=_choose, args=(endpoints, stop), name="people")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _choose(endpoints: Endpoints, stop: threading.Event) -> None:
    with httpx.Client(base_url=endpoints.api, timeout=10.0) as client:
        for number in count():
            if stop.wait(PAUSE_SECONDS):
                return
            channel = CHANNELS[number % len(CHANNELS)]
            address = f"drill-{number}@example.com" if channel == "email" else f"+336399{80_000 + number % NUMBERS:05}"
            with suppress(httpx.TransportError):
                client.post(
                    "/v1/decisions",
                    json={
                        "subject_ref": f"drill-{number}",
                        "channel": channel,
                        "address": address,
                        "purpose": "promotions",
                        "status": "withdrawn",
                    },
                    headers={
                        "Authorization": f"Bearer {endpoints.api_key}",
                        "Idempotency-Key": f'"{uuid4()}"',
                    },
                )
