"""A destination that was down while 10,000 addresses changed five times each: what it is sent afterwards, and when."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.figures import Figure, Servers
from tests.bench.processes import Propagator, Rig, rig
from tests.support.waiting import until

ADDRESSES, CHANGES = 10_000, 5
PURPOSE = "newsletter"
ACCOUNT = "webhook/crm"
CONCURRENCY = 16

DESTINATION = """\
destinations:
  - name: crm
    connector: webhook
    channel: email
    url: {sandbox}/webhook/crm
    credentials: {{secret: {{env: WEBHOOK}}}}
    options: {{allow_private: true}}
    purposes: same
    push_permissions: true
    limits: {{calls_per_second: 1000, burst: 100, concurrency: 16}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What an address's last change asks for."""

    live: bool
    permit: bool


def measure(servers: Servers) -> list[Figure]:
    with rig(servers) as found:
        found.declare(DESTINATION)
        worker = found.start()
        worker.until_ready()
        found.sandbox.put(f"/_control/outage/{ACCOUNT}", {"mode": "unavailable"})
        wanted = _change(found)
        until(lambda: _live(worker) == ADDRESSES / 2, seconds=120, what="all changes read", every=0.5)
        before = found.sandbox.calls(ACCOUNT)
        found.sandbox.put(f"/_control/outage/{ACCOUNT}", {"mode": "off"})
        begun = time.monotonic()
        until(lambda: _backlog(worker) == 0, seconds=180, what="nothing pending", every=0.5)
        seconds = time.monotonic() - begun
        after = max((call["number"] for call in before), default=0)
        calls = [call for call in found.sandbox.pushes(ACCOUNT, after=after) if call["status"] == 204]
        return _figures(calls, wanted, seconds)


def _change(found: Rig) -> dict[str, Wanted]:
    """By address key, what is wanted in the end: a quarter each of live and bulk, revocations and permissions."""
    wanted: dict[str, Wanted] = {}
    for change in range(CHANGES):
        for number in range(ADDRESSES):
            # Only the last change is ever live, so that the number of live ones shows that all has been read.
            live = change == CHANGES - 1 and number % 2 == 0
            each = Wanted(live=live, permit=(number // 2 + change) % 2 == 0)
            status = "given" if each.permit else "withdrawn"
            address = f"changed-{number:05}@example.com"
            key, _ = found.lists.decide("email", address, PURPOSE, status, bulk=not each.live)
            wanted[key] = each
    found.lists.flush()
    return wanted


def _live(worker: Propagator) -> float:
    labels = {"class": "live"}
    return worker.metrics().total("consent_relay_propagation_backlog", destination="crm", **labels)


def _backlog(worker: Propagator) -> float:
    """Everything pending; infinite while the process is not the active sender."""
    samples, name = worker.metrics(), "consent_relay_propagation_backlog"
    known = samples.least(name, destination="crm") is not None
    return samples.total(name, destination="crm") if known else math.inf


def _figures(calls: Sequence[dict[str, Any]], wanted: dict[str, Wanted], seconds: float) -> list[Figure]:
    first = list(dict.fromkeys(call["addresses"][0] for call in calls))
    order = [wanted[key] for key in first]
    early = sum(_permissions_too_early([each for each in order if each.live is live]) for live in (True, False))
    last = max((place for place, each in enumerate(order) if each.live and not each.permit), default=0)
    share = sum(not each.live for each in order[:last]) / max(last, 1)
    return [
        Figure(
            name="after an outage: calls",
            value=len(calls),
            unit="calls",
            target=ADDRESSES,
            at_most=True,
            how=f"After an outage: {ADDRESSES * CHANGES:,} changes on {ADDRESSES:,} addresses while a webhook answered"
            " 503 to everything, a quarter each live and bulk, revocations and permissions in the end. A call more than"
            " there are addresses repeats a suppression that followed a permission in doubt, as it has to",
        ),
        Figure(
            name="after an outage: addresses informed",
            value=len(order),
            unit="addresses",
            target=ADDRESSES,
        ),
        Figure(
            name="after an outage: permissions before the last revocation of their class",
            value=early,
            unit="calls",
            target=CONCURRENCY * 2,
            at_most=True,
            how=f"Order: {CONCURRENCY} calls are under way at once, so that many may overtake in each class",
        ),
        Figure(
            name="after an outage: bulk among the calls while live revocations were pending",
            value=share,
            unit="ratio",
            target=0.12,
            at_most=True,
            how="A tenth of the calls is bulk's while it is pending",
        ),
        Figure(name="after an outage: everything delivered", value=seconds, unit="s"),
    ]


def _permissions_too_early(order: Sequence[Wanted]) -> int:
    last = max((place for place, each in enumerate(order) if not each.permit), default=0)
    return sum(each.permit for each in order[:last])
