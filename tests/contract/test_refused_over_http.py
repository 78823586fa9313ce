"""The whole way of what a provider refuses, in real time: worker, connector, HTTP and the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import aiohttp
import pytest

from propagator.connectors import CATALOGUE
from propagator.sending import call_results, target_quarantine
from provider_sandbox.app import create_app, start
from provider_sandbox.config import GenesysOrg, SandboxConfig
from tests.support.waiting import until_async
from tests.unit.sending.rig import KEYRING, Rig, decision, destination, key

pytestmark = pytest.mark.long

LIST = "00000000-0000-4000-8000-000000000001"


class Tool(NamedTuple):
    name: str
    credentials: dict[str, str]
    target: str
    reject_code: str = ""

    def address(self, number: int) -> str:
        return f"person{number}@example.com" if self.name == "sendgrid" else f"+3363998{number:04d}"


TOOLS = [
    Tool(
        "twilio",
        {"account_sid": "AC" + "0" * 32, "auth_token": "sandbox-twilio-token"},
        "MG" + "1" * 32,
        "30646 INVALID_CONTACT_ID",
    ),
    Tool("sendgrid", {"api_key": "SG.sandbox"}, "101"),
    Tool("genesys", {"client_id": "sandbox-genesys-client", "client_secret": "sandbox-genesys-secret"}, LIST),
]
GENESYS = TOOLS[-1]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute, or ten, in a moment."""
    monkeypatch.setattr(target_quarantine, "TARGET_CHECK_SECONDS", 0.2)
    for name in ("HOLD_SECONDS", "REFUSED_RETRY_SECONDS", "MAX_REFUSED_RETRY_SECONDS"):
        monkeypatch.setattr(call_results, name, 0.2)


Order = Callable[[str, str, Any], Awaitable[None]]


@asynccontextmanager
async def running(tool: Tool, org: GenesysOrg | None = None) -> AsyncIterator[tuple[Rig, Order]]:
    """A worker that sends to the sandbox, and what gives the sandbox an order."""
    sandbox = await start(create_app(SandboxConfig(genesys=org or GenesysOrg())))
    connector_type = CATALOGUE[tool.name]
    options = {name: option.default for name, option in connector_type.options.items()}
    if tool.name == "genesys":
        options |= {"login_url": f"{sandbox.url}/genesys"}
    plain = destination(
        targets={"newsletter": (tool.target,)}, batch=25, per_second=200, burst=50, push_permissions=True
    )
    limits = replace(
        plain.limits, max_batch={each: min(25, most) for each, most in connector_type.capabilities.max_batch.items()}
    )
    connection = replace(
        plain.connection,
        url=f"{sandbox.url}/{tool.name}",
        credentials=tool.credentials,
        options=options,
        targets=(tool.target,),
    )
    where = replace(plain, connector_type=connector_type, connection=connection, limits=limits)
    rig = Rig(destination=where, provider=connector_type.build(connection))  # type: ignore[arg-type]
    rig.state.seal = lambda address_key: KEYRING.seal(address_key, tool.address(int(address_key[-4:])))
    async with aiohttp.ClientSession() as session:

        async def order(method: str, path: str, body: Any = None) -> None:
            async with session.request(method, sandbox.url + path, json=body) as answer:
                assert answer.status < 300, await answer.text()

        await order("PUT", f"/_control/latency/{tool.name}", {"p50_ms": 0, "p99_ms": 0})
        await order("PUT", f"/_control/limit/{tool.name}", {"calls": 0, "seconds": 60})
        yield rig, order
        await rig.stop()
    await sandbox.close()


def ended(rig: Rig) -> list[str]:
    return [each.address_key for each in rig.state.receipts if each.stage == "impossible"]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda each: each.name)
@pytest.mark.parametrize("together", [True, False])
async def test_a_provider_that_refuses_every_one_ends_none(tool: Tool, together: bool) -> None:  # R2, R26
    """One by one, the first may end: nothing shows yet that it is not about that address."""
    async with running(tool) as (rig, order):
        every_one = [tool.address(number) for number in range(8)]
        fault = {
            "account": tool.name,
            "kind": "reject",
            "addresses": every_one,
            "code": tool.reject_code,
            "times": 0,
        }
        await order("POST", "/_control/faults", fault)
        if together:
            for number in range(8):
                rig.state.decide(key(number), decision(f"d{number}"))
        await rig.start()
        if not together:
            for number in range(8):
                rig.state.decide(key(number), decision(f"d{number}"))
                await asyncio.sleep(0.3)
        await until_async(lambda: rig.sample("destination_verified") == 0)
        await asyncio.sleep(1.0)
        assert len(ended(rig)) <= (0 if together else 1)
        await order("DELETE", f"/_control/faults?account={tool.name}")
        await until_async(lambda: rig.state.nothing_pending)
        await until_async(lambda: rig.sample("destination_verified") == 1)
        assert len(ended(rig)) <= (0 if together else 1)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda each: each.name)
async def test_invalid_addresses_end_where_others_are_accepted(tool: Tool) -> None:
    async with running(tool) as (rig, order):
        bad = [tool.address(number) for number in (2, 5)]
        fault = {"account": tool.name, "kind": "reject", "addresses": bad, "code": tool.reject_code, "times": 0}
        await order("POST", "/_control/faults", fault)
        for number in range(8):
            rig.state.decide(key(number), decision(f"d{number}"))
        await rig.start()
        await until_async(lambda: rig.state.nothing_pending)
        assert sorted(ended(rig)) == [key(2), key(5)]


async def test_a_full_list_takes_what_fits_and_the_rest_once_there_is_space() -> None:  # R26
    async with running(GENESYS, GenesysOrg(numbers_per_list=5)) as (rig, order):
        for number in range(12):
            rig.state.decide(key(number), decision(f"d{number}"))
        await rig.start()
        accepted = lambda: [each for each in rig.state.receipts if each.stage == "effective"]  # noqa: E731
        await until_async(lambda: len(accepted()) == 5)
        await until_async(lambda: (rig.sample("destination_verified"), rig.sample("quarantined_targets")) == (0, 1))
        rig.state.decide(key(100), decision("p100", "given"))
        await until_async(lambda: any(each.address_key == key(100) for each in accepted()))
        assert not ended(rig)
        await order("PUT", "/_control/genesys", {"numbers_per_list": 1_000})
        await until_async(lambda: rig.state.nothing_pending)
        assert len(accepted()) == 13
        await until_async(lambda: rig.sample("destination_verified") == 1)
        assert not ended(rig)
