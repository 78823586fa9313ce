"""The push at one, two and four propagators, each with a destination of its own: one destination has one sender."""

from __future__ import annotations

from tests.bench.figures import Figure, Servers
from tests.bench.processes import Propagator, Rig, rig
from tests.bench.scale_out import COUNTS, Run, observe, table
from tests.support.waiting import until

ENTRIES = 30_000
PURPOSE = "newsletter"
STARTED = 500
"""Pushes of each propagator, after which all of them are under way."""
SECONDS = 15.0

DESTINATION = """\
destinations:
  - name: {name}
    connector: webhook
    channel: email
    url: {{sandbox}}/webhook/{name}
    credentials: {{{{secret: {{{{env: WEBHOOK}}}}}}}}
    options: {{{{allow_private: true}}}}
    purposes: same
    limits: {{{{calls_per_second: 5000, burst: 5000, concurrency: 64}}}}
"""


def measure(servers: Servers) -> list[Figure]:
    """Every propagator reads the whole list, and each of the destinations is sent all of it."""
    runs = [_run(servers, tuple(f"tool{number}" for number in range(count))) for count in COUNTS]
    how = (
        f"push: propagators of different names, each with one webhook of its own that answers at once, one push a call;"
        f" the list has {ENTRIES:,} refusals in bulk; {SECONDS:.0f} s while each of them has pushes pending"
    )
    return list(table("push", "pushes", runs, how))


def _run(servers: Servers, names: tuple[str, ...]) -> Run:
    with rig(servers, propagators=names) as found:
        found.legacy.entries("email", range(ENTRIES), [PURPOSE])
        workers = {name: _start(found, name) for name in names}
        for worker in workers.values():
            worker.until_ready()
        until(
            lambda: all(_pushed(worker, name) >= STARTED for name, worker in workers.items()),
            seconds=120,
            what="every propagator under way",
        )
        run = observe(
            list(workers.values()),
            lambda: sum(_pushed(worker, name) for name, worker in workers.items()),
            until=lambda _, seconds: seconds >= SECONDS,
        )
        if idle := [name for name, worker in workers.items() if worker.pending(name) == 0]:
            raise RuntimeError(f"{', '.join(idle)} came to the end of the list: it needs more than {ENTRIES:,} entries")
        return run


def _start(found: Rig, name: str) -> Propagator:
    found.declare(DESTINATION.format(name=name), propagator=name)
    found.sandbox.answer_at_once(f"webhook/{name}")
    return found.start(name, propagator=name)


def _pushed(worker: Propagator, destination: str) -> float:
    labels = {"destination": destination, "outcome": "accepted"}
    return worker.metrics().total("consent_relay_propagation_pushes_total", **labels)
