"""The whole way of a late "yes" in real time: engine, connector, HTTP, and a provider slower than our patience."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from propagator.config import Limits
from propagator.connectors import CATALOGUE
from provider_sandbox.app import create_app, start
from provider_sandbox.config import SandboxConfig, WebhookReceivers
from tests.unit.propagator.harness import SECOND, Durable, Worker, decision, destination, until, wall

SENDER = "MG" + "1" * 32
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
TWILIO = {"account_sid": "AC" + "0" * 32, "auth_token": "sandbox-twilio-token"}


@pytest.mark.parametrize(
    ("tool", "credentials", "target"), [("twilio", TWILIO, SENDER), ("webhook", {"secret": SECRET}, "newsletter")]
)
async def test_a_late_yes_does_not_stand_over_the_no(tool: str, credentials: dict[str, str], target: str) -> None:
    sandbox = await start(create_app(SandboxConfig(webhook=WebhookReceivers(secrets=(SECRET,)))))
    kind = CATALOGUE[tool]
    plain = destination(purposes={"newsletter": (target,)})
    options = {name: option.default for name, option in kind.options.items() if option.default is not None}
    if tool == "webhook":
        options |= {"allow_private": True, "clear_addresses": True}
    where = replace(
        plain,
        kind=kind,
        account=replace(
            plain.account, url=f"{sandbox.url}/{tool}", credentials=credentials, options=options, timeout_seconds=0.4
        ),
        limits=Limits(calls_per_second=1000, burst=100, concurrency=4, max_batch=kind.capabilities.max_batch),
    )
    durable = Durable()
    worker = Worker(durable, kind.build(where.account), where)
    async with aiohttp.ClientSession() as session:
        said = _asker(session, sandbox.url, tool)
        await session.put(f"{sandbox.url}/_control/latency/{tool}", json={"p50_ms": 900, "p99_ms": 900})
        await worker.start()
        durable.decide(1, decision("g1", "given", at=wall() - 10 * SECOND))
        await until(lambda: worker.metrics.calls.labels(where.name, "down")._value.get() == 1, 5)
        await session.put(f"{sandbox.url}/_control/latency/{tool}", json={"p50_ms": 0, "p99_ms": 0})
        durable.decide(1, decision("w1", at=wall()))
        await until(lambda: durable.committed == 2, 5)
        await until(lambda: not durable.parked, 10)
        await asyncio.sleep(0.5)
        changes = [state for _, state in await said()]
        assert changes[-1] == "suppressed"
        assert "permitted" in changes, "it was carried out, late"
    await worker.close()
    await sandbox.close()
    assert not worker.bugs


def _asker(session: aiohttp.ClientSession, url: str, tool: str) -> Callable[[], Any]:
    async def said() -> Any:
        async with session.get(f"{url}/_state/{tool}?details=1") as answer:
            states = (await answer.json())["states"]
        return next(iter(states["+33639980001"].values()))["changes"]

    return said
