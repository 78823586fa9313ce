"""Starts, watches and ends a set of child processes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StartCancelledError, StartFailedError
from local_stack.processes.child import Child, Program

Probe = Callable[[], str | None]  # one real request: None when it was answered, else why it was not

IDLE_SECONDS = 60.0
"""A program that starts and has done nothing for as long, hangs."""
MAX_START_SECONDS = 300.0
EFFORT_SECONDS = 1.0
"""How often it is looked whether a program works: each time all processes of the host are read."""
SILENT_SECONDS = 15.0
"""How often what is waited for is reported."""


@dataclass(frozen=True, kw_only=True)
class Crash:
    """A child that ended without having been asked to."""

    name: str
    how: str
    tail: str


class Supervisor:
    """Owns children by name. What it started it stops, the youngest layer first, and nothing else."""

    def __init__(self, log_dir: Path, *, report: Callable[[str], None]) -> None:
        """`report` is called with each crash, and with what is waited for, from any thread."""
        self.crashes: list[Crash] = []
        self.crashed = threading.Event()
        self._log_dir = log_dir
        self._report = report
        self._abandoned = threading.Event()
        self._children: dict[str, Child] = {}
        self._probes: dict[str, Probe] = {}
        self._layers: list[list[str]] = []

    def begin_layer(self) -> None:
        """What is added from here on needs what was added before, so it is stopped before it."""
        self._layers.append([])

    def add(self, program: Program, probe: Probe) -> Child:
        """Start a program and wait until it answers. Raises StartFailedError, or StartCancelledError."""
        if self._abandoned.is_set():
            raise StartCancelledError
        child = Child(program, self._log_dir, on_crash=self._note_crash)
        self._children[child.name] = child
        self._probes[child.name] = probe
        self._layers[-1].append(child.name)
        child.start()
        self.await_ready(child.name)
        return child

    def child(self, name: str) -> Child:
        """The child of that name; KeyError names those there are."""
        if name not in self._children:
            raise KeyError(f"no process {name!r}; there are: {', '.join(self._children)}")
        return self._children[name]

    @property
    def names(self) -> list[str]:
        """All children, in the order in which they were added."""
        return list(self._children)

    def restart(self, name: str, *, seconds: float = MAX_START_SECONDS) -> None:
        """Kill the child if it runs, start the same program again, wait until it answers."""
        child = self.child(name)
        child.kill()
        child.start()
        self.await_ready(name, seconds=seconds)

    def await_ready(self, name: str, *, seconds: float = MAX_START_SECONDS, idle_seconds: float = IDLE_SECONDS) -> None:
        """Ask the child's probe until it answers, and report what is waited for.

        Raises StartFailedError when the child ends, does nothing for `idle_seconds` or needs more than `seconds`, or
        StartCancelledError."""
        child, probe = self.child(name), self._probes[name]
        began = worked_at = reported_at = looked_at = time.monotonic()
        effort = child.effort
        while (why := probe()) is not None:
            now = time.monotonic()
            if self._abandoned.is_set():
                raise StartCancelledError
            if not child.running:
                raise _failed(child, child.exit_text)
            if now - looked_at > EFFORT_SECONDS:
                looked_at, found = now, child.effort
                if found > effort:
                    effort, worked_at = found, now
            if now - worked_at > idle_seconds or now - began > seconds:
                raise _failed(child, f"is not ready after {now - began:.0f} s: {why}")
            if now - reported_at > SILENT_SECONDS:
                reported_at = now
                self._report(f"waiting for {name}, for {now - began:.0f} s: {why}")
            time.sleep(0.05)

    def run_parallel(self, *jobs: Callable[[], object]) -> None:
        """Run jobs at once. The first that fails makes the others give up, and its error is raised."""
        with ThreadPoolExecutor(len(jobs)) as pool:
            futures = [pool.submit(job) for job in jobs]
            if any(future.exception() for future in wait(futures, return_when=FIRST_EXCEPTION).done):
                self.cancel_start()
        errors = [error for future in futures if (error := future.exception())]
        if errors:
            raise next((error for error in errors if not isinstance(error, StartCancelledError)), errors[0])

    def cancel_start(self) -> None:
        """Make every wait for readiness, on whichever thread, end with StartCancelledError."""
        self._abandoned.set()

    def stop_all(self) -> None:
        """End everything: layer by layer, the children of a layer at once."""
        self.cancel_start()
        for layer in reversed(self._layers):
            children = [self._children[name] for name in layer if name in self._children]
            if children:
                with ThreadPoolExecutor(len(children)) as pool:
                    list(pool.map(Child.stop, children))

    def _note_crash(self, child: Child) -> None:
        crash = Crash(name=child.name, how=child.exit_text, tail=child.tail())
        self.crashes.append(crash)
        self.crashed.set()
        self._report(f"{crash.name} {crash.how}; the end of {child.log}:\n{crash.tail}")


def _failed(child: Child, why: str) -> StartFailedError:
    return StartFailedError(name=child.name, why=why, log=child.log, tail=child.tail())
