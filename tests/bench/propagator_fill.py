"""A million entries: restored without a disk, then a new destination that has to be sent all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean, quantiles

from tests.bench.figures import Figure, Servers
from tests.bench.processes import Propagator, Rig, rig
from tests.support.waiting import until

ENTRIES = 1_000_000
PURPOSE = "newsletter"
RATE = 20.0
CALM_SECONDS, FILL_SECONDS = 10.0, 40.0
SAMPLE_SECONDS = 0.5

CRM = """\
destinations:
  - name: crm
    connector: webhook
    channel: email
    url: {sandbox}/webhook/crm
    credentials: {{secret: {{env: WEBHOOK}}}}
    options: {{allow_private: true}}
    purposes: same
"""
ADDED = """\
  - name: added
    connector: webhook
    channel: email
    url: {sandbox}/webhook/added
    credentials: {{secret: {{env: WEBHOOK}}}}
    options: {{allow_private: true}}
    purposes: same
"""


def measure(servers: Servers, entries: int = ENTRIES) -> list[Figure]:
    """`crm` has taken every entry already; `added` none."""
    with rig(servers) as found:
        found.legacy.entries("email", range(entries), [PURPOSE], delivered_to="crm")
        found.declare(CRM)
        figures = _restore(found, entries)
        found.declare(CRM + ADDED)
        return [*figures, *_fill(found, entries)]


def _restore(found: Rig, entries: int) -> list[Figure]:
    first, _ = found.lists.decide("email", _live("first", 0), PURPOSE, "withdrawn")
    found.lists.flush()
    worker = found.start()
    worker.until_ready()
    ready = time.time()
    informed = found.sandbox.await_informed("webhook/crm", PURPOSE, [first], seconds=240)[first]
    until(lambda: worker.is_planned("crm"), seconds=240, what="the tables planned for crm", every=1.0)
    planned = time.time()
    calm = _latency(found, "crm", "calm", CALM_SECONDS)
    worker.stop()
    begun = worker.started_at / 1e6
    how = (
        f"{entries:,} entries and as many rows of one destination, no local state: from the start of the process,"
        " Python's included"
    )
    return [
        Figure(
            name="without its disk, both tables restored",
            value=ready - begun,
            unit="s",
            target=30,
            at_most=True,
            how=how,
        ),
        Figure(name="without its disk, first call", value=informed / 1e6 - begun, unit="s"),
        Figure(name="without its disk, all of it planned", value=planned - begun, unit="s"),
        Figure(name="live at the old destination before the fill, p99", value=calm, unit="s"),
    ]


def _fill(found: Rig, entries: int) -> list[Figure]:
    worker = found.start()
    with _sampled(worker) as memory:
        until(lambda: bool(found.sandbox.pushes("webhook/added")), seconds=60, what="a call to the new destination")
        first = found.sandbox.pushes("webhook/added")[0]["arrived_at"]
        recorded = found.lists.withdraw_live(_addresses("fill", FILL_SECONDS), PURPOSE, rate=RATE)
        old, new = (_p99(found, account, recorded) for account in ("webhook/crm", "webhook/added"))
    third = len(memory) // 3
    return [
        Figure(
            name="new destination: first call",
            value=(first - worker.started_at) / 1e6,
            unit="s",
            target=10,
            at_most=True,
            how=f"New destination: {entries:,} entries, a webhook with its default limits, from the start of the"
            " process that has it in its file",
        ),
        Figure(
            name="new destination: live at the old one meanwhile, p99",
            value=old,
            unit="s",
            target=2,
            at_most=True,
            how=f"live: {RATE:.0f} withdrawals a second, from the entry to the webhook, for {FILL_SECONDS:.0f} s of the"
            f" fill and, before it, {CALM_SECONDS:.0f} s",
        ),
        Figure(name="new destination: live at the new one, p99", value=new, unit="s", target=2, at_most=True),
        Figure(
            name="new destination: memory of the process",
            value=max(memory),
            unit="MB",
            target=300,
            at_most=True,
            how="memory: the highest resident size, a sample every half second",
        ),
        Figure(
            name="new destination: memory, last third above the second",
            value=fmean(memory[-third:]) - fmean(memory[third : 2 * third]),
            unit="MB",
        ),
    ]


@contextmanager
def _sampled(worker: Propagator) -> Iterator[list[float]]:
    """The resident memory of the process during the block, in MB."""
    samples: list[float] = []
    stopping = threading.Event()

    def sample() -> None:
        while not stopping.wait(SAMPLE_SECONDS):
            samples.append(worker.memory())

    thread = threading.Thread(target=sample, name="memory", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stopping.set()
        thread.join()


def _latency(found: Rig, destination: str, name: str, seconds: float) -> float:
    recorded = found.lists.withdraw_live(_addresses(name, seconds), PURPOSE, rate=RATE)
    return _p99(found, f"webhook/{destination}", recorded)


def _p99(found: Rig, account: str, recorded: dict[str, int]) -> float:
    """Seconds from the decision to the call."""
    informed = found.sandbox.await_informed(account, PURPOSE, recorded, seconds=60)
    return quantiles([informed[key] - at for key, at in recorded.items()], n=100)[98] / 1e6


def _addresses(name: str, seconds: float) -> Sequence[str]:
    return [_live(name, number) for number in range(int(RATE * seconds))]


def _live(name: str, number: int) -> str:
    return f"live-{name}-{number:05}@example.com"
