"""Who sends changes: a restart with its disk, and a standby that takes over, with 100,000 pushes pending."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from consent_service.clock import now_micros
from tests.bench.figures import Figure, Servers
from tests.bench.processes import SESSION_SECONDS, Propagator, Rig, rig
from tests.bench.propagator_fill import CRM
from tests.support.waiting import until

PENDING = 100_000
PURPOSE = "newsletter"
ACCOUNT = "webhook/crm"
ROUNDS = 2


def measure(servers: Servers) -> list[Figure]:
    with rig(servers) as found:
        found.declare(CRM)
        found.legacy.entries("email", range(PENDING), [PURPOSE])
        worker = found.start("one")
        until(lambda: _planned(worker), seconds=120, what="100,000 pushes planned", every=0.5)
        worker.stop()
        worker = found.start("one")
        first = _first_after(found, worker.started_at)
        pending = worker.pending("crm")
        standby = found.start("two")
        terminated: list[float] = []
        killed: list[float] = []
        for _ in range(ROUNDS):
            for measured, orderly in ((terminated, True), (killed, False)):
                standby.until_ready()
                until(lambda: worker.pending("crm") > 0, seconds=30, what="an active sender", every=0.1)  # noqa: B023
                measured.append(_takeover(found, worker, orderly=orderly))
                worker, standby = standby, found.start(worker.instance)
        return _figures(first - found.workers[1].started_at, pending, terminated, killed)


def _figures(restart: int, pending: float, terminated: list[float], killed: list[float]) -> list[Figure]:
    how = f"takeover: the worst of {ROUNDS}, a session time-out of {SESSION_SECONDS} s, calls at 200 a second before it"
    return [
        Figure(
            name=f"restart with its disk, {pending:,.0f} pending: first call",
            value=restart / 1e6,
            unit="s",
            target=5,
            at_most=True,
            how="restart: from the start of the process, Python's included",
        ),
        Figure(
            name="active sender killed: first call of the standby, after the session time-out",
            value=max(killed) - SESSION_SECONDS,
            unit="s",
            target=2,
            at_most=True,
            how=how,
        ),
        Figure(
            name="active sender stopped by SIGTERM: first call of the standby",
            value=max(terminated),
            unit="s",
            target=2,
            at_most=True,
        ),
    ]


def _planned(worker: Propagator) -> bool:
    return worker.is_ready() and worker.is_planned("crm")


def _first_after(found: Rig, moment: int) -> int:
    """When the first push arrived after a moment, micros."""
    until(lambda: bool(_after(found, moment)), seconds=60, what="a call", every=0.1)
    return int(_after(found, moment)[0]["arrived_at"])


def _takeover(found: Rig, worker: Propagator, *, orderly: bool) -> float:
    """Seconds from the signal to the first call of the standby: the end of the longest pause between two calls."""
    signalled = worker.stop() if orderly else worker.kill()
    ended = now_micros()
    until(lambda: bool(_after(found, ended + 500_000)), seconds=60, what="a call of the standby", every=0.1)
    arrivals = [signalled, *(int(call["arrived_at"]) for call in _after(found, signalled))]
    _, begun = max(pairwise(arrivals), key=lambda pair: pair[1] - pair[0])
    return (begun - signalled) / 1e6


def _after(found: Rig, moment: int) -> list[dict[str, Any]]:
    return [call for call in found.sandbox.pushes(ACCOUNT) if call["arrived_at"] > moment]
