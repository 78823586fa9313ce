"""What the resolved timestamps cost: the processor time of the whole system, its servers included, with them and
without, at rest and while people withdraw."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median

from local_stack.stack import Stack
from tests.bench.figures import Figure, Servers
from tests.bench.load import PURPOSE, Place, revoke
from tests.bench.processor_time import ProcessorTime
from tests.bench.sandbox_client import SandboxClient
from tests.bench.system import OWN_WEBHOOK, system

RATE, SECONDS = 200.0, 20.0
REST_SECONDS = 20.0
ROUNDS = 3
TARGET = 3.0
ACCOUNT = "webhook/own"
REPOSITORY = Path(__file__).parents[2]
SWITCHED = ("relay", "suppression")


class _Bench:
    def __init__(self, stack: Stack, sandbox: SandboxClient, processor_time: ProcessorTime) -> None:
        self._stack = stack
        self._sandbox = sandbox
        self._processor_time = processor_time
        self._numbers = count()

    def rest(self) -> float:
        """Processors used, with nothing to do."""
        with self._processor_time.measured() as seconds:
            time.sleep(REST_SECONDS)
        return sum(seconds.values()) / REST_SECONDS

    def load(self) -> float:
        """Processor seconds a withdrawal, until the tool is informed of every one."""
        number = int(RATE * SECONDS)
        with self._processor_time.measured() as seconds:
            self.withdraw(number)
        return sum(seconds.values()) / number

    def withdraw(self, number: int) -> None:
        people = [Place("email", f"person-{next(self._numbers):06}@example.com") for _ in range(number)]
        endpoints = self._stack.endpoints
        sent = revoke(endpoints.api, endpoints.api_key, people, rate=RATE)
        self._sandbox.await_informed(ACCOUNT, PURPOSE, [each.address_key for each in sent], seconds=120)

    @contextmanager
    def without_timestamps(self) -> Iterator[None]:
        children = [self._stack.supervisor.child(name) for name in SWITCHED]
        programs = [child.program for child in children]
        for child, program in zip(children, programs, strict=True):
            child.stop()
            child.program = replace(
                program,
                command=[sys.executable, "-m", "tests.bench.without_resolved", child.name],
                env={**program.env, "PYTHONPATH": str(REPOSITORY)},
            )
            child.start()
        try:
            yield
        finally:
            for child, program in zip(children, programs, strict=True):
                child.stop()
                child.program = program
                child.start()


def measure(servers: Servers) -> list[Figure]:
    """With and without by turns; each turn begins once a withdrawal has come through."""
    with system(servers, OWN_WEBHOOK) as stack, closing(SandboxClient.of(stack.endpoints)) as sandbox:
        sandbox.answer_at_once(ACCOUNT)
        bench = _Bench(stack, sandbox, ProcessorTime(stack, servers))
        resting, loaded, bare_resting, bare_loaded = [], [], [], []
        for _ in range(ROUNDS):
            bench.withdraw(100)
            resting.append(bench.rest())
            loaded.append(bench.load())
            with bench.without_timestamps():
                bench.withdraw(100)
                bare_resting.append(bench.rest())
                bare_loaded.append(bench.load())
    at_rest = median(resting) - median(bare_resting)
    used = RATE * median(bare_loaded)
    how = (
        "the services, Kafka, the registry and PostgreSQL, with the timestamps less without them (the relay takes no"
        f" turns, the merge passes nothing on); medians of {ROUNDS} turns"
    )
    spread = 100 * (max(bare_loaded) - min(bare_loaded)) / median(bare_loaded)
    return [
        Figure(
            name=f"what they cost at rest, of all that {RATE:.0f} withdrawals a second take",
            value=100 * at_rest / used,
            unit="%",
            target=TARGET,
            at_most=True,
            how=f"{how}. Their number does not grow with the load, and under it they share its fetches and batches, so"
            " this is the most that they cost",
        ),
        Figure(
            name=f"measured at {RATE:.0f} withdrawals a second",
            value=100 * (median(loaded) - median(bare_loaded)) / median(bare_loaded),
            unit="%",
            how=f"of the processor time; without them it differed by {spread:.0f} % from turn to turn",
        ),
        Figure(name="what they cost at rest", value=100 * at_rest, unit="% of a processor"),
        Figure(name="all else at rest", value=100 * median(bare_resting), unit="% of a processor"),
        Figure(name=f"all else at {RATE:.0f} withdrawals a second", value=100 * used, unit="% of a processor"),
    ]
