"""The whole system at 200 live changes a second while every process is restarted in order, one after the other: what
fails, and how long a tool waits for a withdrawal."""

from __future__ import annotations

import time
from contextlib import closing
from statistics import quantiles

from tests.bench.figures import Figure, Servers
from tests.bench.load import PURPOSE, micros
from tests.bench.sandbox_client import SandboxClient
from tests.bench.system import OWN_WEBHOOK, system
from tests.support.rolling_restart import SHUTDOWN_DELAY, clients, roll, with_second_instances, withdrawals

RATE = 200.0
PROMISE_SECONDS = 5.0
_ACCOUNT = "webhook/own"
# By default it is sent 200 calls a second, as many as are made here: what waited for one restart would wait to the end.
_TOOL = OWN_WEBHOOK.replace(
    "purposes: same", "limits: {{calls_per_second: 1000, burst: 100, concurrency: 16}}\n    purposes: same"
)
_WARM_UP_SECONDS = 5.0


def measure(servers: Servers) -> list[Figure]:
    """Two instances each of API, relay, merge, propagator and gate; the clients go to an API that is ready."""
    with (
        system(servers, _TOOL, environ=SHUTDOWN_DELAY) as stack,
        closing(SandboxClient.of(stack.endpoints)) as sandbox,
    ):
        sandbox.answer_at_once(_ACCOUNT)
        instances = with_second_instances(stack)
        with clients(instances, api_key=stack.endpoints.api_key, bodies=withdrawals("rolled"), rate=RATE) as answered:
            time.sleep(_WARM_UP_SECONDS)
            began = time.monotonic()
            ended = roll(stack)
            seconds = time.monotonic() - began
            time.sleep(_WARM_UP_SECONDS)
        recorded = {each["addresses"][0]: micros(each["recorded_at"]) for each in answered.answers}
        informed = sandbox.await_informed(_ACCOUNT, PURPOSE, list(recorded), seconds=120)
    waited = quantiles([informed[key] - at for key, at in recorded.items()], n=100)
    how = f"{len(ended)} processes in {seconds:.0f} s, {RATE:.0f} withdrawals a second by two APIs meanwhile"
    return [
        Figure(
            name="rolling restart: requests that failed",
            value=float(len(answered.failures)),
            unit="",
            target=0.0,
            at_most=True,
            how=how,
        ),
        Figure(
            name="rolling restart: accepted to 2xx, p99",
            value=waited[98] / 1e6,
            unit="s",
            target=PROMISE_SECONDS,
            at_most=True,
        ),
        Figure(name="rolling restart: accepted to 2xx, p50", value=waited[49] / 1e6, unit="s"),
        Figure(name="rolling restart: a process, stop to ready", value=seconds / len(ended), unit="s"),
    ]
