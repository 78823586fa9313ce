"""The whole way of a late permission in real time: worker, connector, HTTP, and a provider slower than our time-out."""

from __future__ import annotations

import base64
from dataclasses import replace

import aiohttp
import pytest

from propagator.connectors import CATALOGUE
from provider_sandbox.app import create_app, start
from provider_sandbox.config import SandboxConfig, WebhookReceivers
from tests.support.virtual_time import SECOND, now_micros
from tests.support.waiting import until_async
from tests.unit.sending.rig import Rig, decision, destination, key

pytestmark = pytest.mark.long

SENDER = "MG" + "1" * 32
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
TWILIO = {"account_sid": "AC" + "0" * 32, "auth_token": "sandbox-twilio-token"}
TIMEOUT = 0.4


@pytest.mark.parametrize(
    ("tool", "credentials", "target"), [("twilio", TWILIO, SENDER), ("webhook", {"secret": SECRET}, "newsletter")]
)
async def test_a_late_permission_does_not_outlast_the_suppression(  # R30
    tool: str, credentials: dict[str, str], target: str
) -> None:
    sandbox = await start(create_app(SandboxConfig(webhook=WebhookReceivers(secrets=(SECRET,)))))
    connector_type = CATALOGUE[tool]
    options = {name: option.default for name, option in connector_type.options.items() if option.default is not None}
    if tool == "webhook":
        options |= {"allow_private": True, "clear_addresses": True}
    plain = destination(targets={"newsletter": (target,)}, push_permissions=True)
    where = replace(
        plain,
        connector_type=connector_type,
        connection=replace(
            plain.connection,
            url=f"{sandbox.url}/{tool}",
            credentials=credentials,
            options=options,
            targets=(target,),
            timeout_seconds=TIMEOUT,
        ),
    )
    rig = Rig(destination=where, provider=connector_type.build(where.connection))  # type: ignore[arg-type]
    async with aiohttp.ClientSession() as session:

        async def changes() -> list[str]:
            """The states that the provider has had, the oldest first."""
            async with session.get(f"{sandbox.url}/_state/{tool}?details=1") as response:
                states = (await response.json())["states"]
            return [state for each in states.values() for _, state in each[target]["changes"]]

        async def verified() -> bool:
            return rig.sample("destination_verified") == 1

        async def in_doubt() -> bool:
            return rig.sample("calls_total", result="down") == 1

        async def settled() -> bool:
            row = rig.state.rows[key(1)][target]
            return (row.action, row.in_doubt) == ("suppress", False) and rig.state.nothing_pending

        latency = f"{sandbox.url}/_control/latency/{tool}"
        await session.put(latency, json={"p50_ms": 0, "p99_ms": 0})
        await rig.start()
        await until_async(verified)
        await session.put(latency, json={"p50_ms": 900, "p99_ms": 900})
        rig.state.decide(key(1), decision("g1", "given", at=now_micros() - 10 * SECOND))
        await until_async(in_doubt)
        await session.put(latency, json={"p50_ms": 0, "p99_ms": 0})
        rig.state.decide(key(1), decision("w1"))
        await until_async(settled)
        found = await changes()
        assert found[-1] == "suppressed"
        assert "permitted" in found, "it was executed, late"
    await rig.stop()
    await sandbox.close()
