"""One tenant's decisions and addresses never reach another tenant's destination (R43): each connector, both tenants.

Two tenants of one installation have the same person's address in the same list topics. Each has a destination of every
kind. All entries are offered to all destinations, as the topics offer them; each is planned by `own_entry` and `plan`,
and what is planned goes over real HTTP to a sandbox of the destination's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from consent_contracts import Decision, verdicts
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from propagator.config.model import Destination, Limits
from propagator.connectors import CATALOGUE
from propagator.connectors.base import PERMIT, SUPPRESS, Accepted, ConnectionSettings, Connector, Push
from propagator.desired.model import ListEntry, Purposes, own_entry
from propagator.desired.plan import plan
from propagator.errors import TenantMismatchError
from provider_sandbox.app import create_app, start
from provider_sandbox.config import SandboxConfig
from tests.support.call_budget import CountedBudget

NOW = 1_760_000_000_000_000
TENANTS = ("acme", "globex")
SHARED, ACME_ONLY, GLOBEX_ONLY = 1, 2, 3
"""Numbers of persons: a customer of both, and one of each alone."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One connector and an account of it in the sandbox."""

    name: str
    channel: str
    target: str
    credentials: dict[str, str]
    options: dict[str, Any]

    def address(self, person: int) -> str:
        return f"person{person}@example.com" if self.channel == "email" else f"+3363998000{person}"


WEBHOOK = {"secret": "whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC0wMDAwMDE="}
TOOLS = [
    Tool(
        name="twilio",
        channel="sms",
        target="MG" + "1" * 32,
        credentials={"account_sid": "AC" + "0" * 32, "auth_token": "sandbox-twilio-token"},
        options={"source": "others"},
    ),
    Tool(
        name="sendgrid",
        channel="email",
        target="101",
        credentials={"api_key": "SG.sandbox"},
        options={"recheck_seconds": 300},
    ),
    Tool(
        name="genesys",
        channel="voice",
        target="00000000-0000-4000-8000-000000000001",
        credentials={"client_id": "sandbox-genesys-client", "client_secret": "sandbox-genesys-secret"},
        options={"login_url": "/genesys"},
    ),
    Tool(
        name="webhook",
        channel="email",
        target="newsletter",
        credentials=WEBHOOK,
        options={"allow_private": True, "clear_addresses": True, "check_url": ""},
    ),
    Tool(
        name="webhook",
        channel="sms",
        target="newsletter",
        credentials=WEBHOOK,
        options={"allow_private": True, "clear_addresses": False, "check_url": ""},
    ),
]


def test_every_connector_is_tried() -> None:
    assert {tool.name for tool in TOOLS} == set(CATALOGUE)


class Side:
    """One tenant's destination, and the sandbox that is its tool."""

    def __init__(self, tenant: str, tool: Tool, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self._tool = tool
        options = {
            name: f"{url}{value}" if str(value).startswith("/") else value for name, value in tool.options.items()
        }
        self.destination = Destination(
            connector_type=CATALOGUE[tool.name],
            connection=ConnectionSettings(
                destination=f"{tool.name}-{tenant}",
                tenant=tenant,
                channel=tool.channel,
                url=f"{url}/{tool.name}",
                credentials=tool.credentials,
                options=options,
                targets=(tool.target,),
            ),
            purposes=Purposes(targets={"newsletter": (tool.target,)}),
            push_permissions=True,
            limits=Limits(calls_per_second=100, burst=100, concurrency=4, max_batch={SUPPRESS: 25, PERMIT: 25}),
        )
        self.connector: Connector = self.destination.connector_type.build(self.destination.connection)

    async def offer(self, entry: ListEntry, keyring: Keyring) -> int:
        """What the destination's plan gives for this entry is sent; returns the number of pushes."""
        rules = self.destination.rules(keyring)
        found = plan(own_entry(rules, entry), {}, rules, fill_began_at=NOW - 1, now=NOW)
        for each in found.pushes:
            push = built(entry, keyring, each.state.action, each.state.target)
            outcomes = await self.connector.push([push], guard=lambda: True, budget=CountedBudget())
            assert [type(outcome) for outcome in outcomes] == [Accepted]
        return len(found.pushes)

    async def states(self) -> dict[str, str]:
        """What the tool holds for each address."""
        async with self._session.get(f"{self._url}/_state/{self._tool.name}") as response:
            states = (await response.json())["states"]
        return {address: targets[self._tool.target] for address, targets in states.items()}

    async def calls(self) -> list[Any]:
        async with self._session.get(f"{self._url}/_requests/{self._tool.name}") as response:
            return list((await response.json())["calls"])


def built(entry: ListEntry, keyring: Keyring, action: Any, target: str) -> Push:
    """The push of an entry, of whichever tenant."""
    assert entry.sealed_address is not None
    return Push(
        push_id=hashlib.blake2b(f"{entry.address_key}/{action}".encode(), digest_size=16).hexdigest(),
        tenant=entry.tenant,
        channel=entry.channel,
        address_key=entry.address_key,
        address=keyring.open(entry.address_key, entry.sealed_address),
        action=action,
        target=target,
        purposes=("newsletter",),
        reason="given" if action == PERMIT else "objected",
        decision_ids=tuple(each.decision_id for each in entry.decisions),
        version=NOW,
        occurred_at=NOW,
        recorded_at=NOW,
    )


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    path = tmp_path_factory.mktemp("tenants") / "keyring.toml"
    generate(path, list(TENANTS))
    return Keyring.load(path)


def an_entry(keyring: Keyring, tool: Tool, tenant: str, person: int, status: str) -> ListEntry:
    address = tool.address(person)
    key = keyring.address_key(tenant, tool.channel, address)
    decisions = (
        Decision(
            decision_id=f"{tenant}-{person}-{status}",
            subject_ref=f"{tenant}-{person}",
            purpose="newsletter",
            status=status,
            effective_at=NOW,
            recorded_at=NOW,
        ),
    )
    return ListEntry(
        tenant=tenant,
        channel=tool.channel,
        address_key=key,
        sealed_address=keyring.seal(key, address),
        decisions=decisions,
        verdicts=verdicts(decisions),
        written_at=NOW,
    )


@pytest.fixture(params=TOOLS, ids=lambda tool: f"{tool.name}-{tool.channel}")
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Tool, dict[str, Side]]]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        sides = {}
        for tenant in TENANTS:
            running = await start(create_app(SandboxConfig()))
            stack.push_async_callback(running.close)
            path = f"{running.url}/_control/latency/{request.param.name}"
            async with session.put(path, json={"p50_ms": 0, "p99_ms": 0}) as response:
                assert response.status == 204
            sides[tenant] = Side(tenant, request.param, running.url, session)
            stack.push_async_callback(sides[tenant].connector.close)
        yield request.param, sides


def held(keyring: Keyring, tool: Tool, tenant: str, person: int) -> str:
    """How the tool knows the person: by the address, or by its key."""
    if tool.options.get("clear_addresses", True):
        return tool.address(person)
    return keyring.address_key(tenant, tool.channel, tool.address(person))


async def test_a_grant_for_one_tenant_lifts_no_objection_at_another_ones_tool(
    both: tuple[Tool, dict[str, Side]], keyring: Keyring
) -> None:
    tool, sides = both
    entries = [
        an_entry(keyring, tool, "acme", SHARED, "objected"),
        an_entry(keyring, tool, "globex", SHARED, "given"),
        an_entry(keyring, tool, "acme", ACME_ONLY, "given"),
        an_entry(keyring, tool, "globex", GLOBEX_ONLY, "objected"),
    ]
    for entry in entries:
        sent = {tenant: await side.offer(entry, keyring) for tenant, side in sides.items()}
        assert sent == {tenant: int(tenant == entry.tenant) for tenant in TENANTS}
    assert await sides["acme"].states() == {
        held(keyring, tool, "acme", SHARED): "suppressed",
        held(keyring, tool, "acme", ACME_ONLY): "permitted",
    }
    assert await sides["globex"].states() == {
        held(keyring, tool, "globex", SHARED): "permitted",
        held(keyring, tool, "globex", GLOBEX_ONLY): "suppressed",
    }


async def test_a_tool_is_never_given_an_address_of_another_tenant(
    both: tuple[Tool, dict[str, Side]], keyring: Keyring
) -> None:
    """Even if a push of another tenant were built by mistake, its connector makes no call at all."""
    tool, sides = both
    for tenant, other in (TENANTS, TENANTS[::-1]):
        entry = an_entry(keyring, tool, other, SHARED, "given")
        wrong = built(entry, keyring, PERMIT, tool.target)
        right = built(an_entry(keyring, tool, tenant, SHARED, "objected"), keyring, SUPPRESS, tool.target)
        size = sides[tenant].destination.connector_type.capabilities.max_batch[SUPPRESS]
        batches: list[Sequence[Push]] = [[wrong], [right, wrong][-size:]]
        for batch in batches:
            with pytest.raises(TenantMismatchError):
                await sides[tenant].connector.push(batch, guard=lambda: True, budget=CountedBudget())
        assert await sides[tenant].calls() == []


async def test_an_entry_under_a_forged_tenant_is_not_opened_with_another_ones_key(
    both: tuple[Tool, dict[str, Side]], keyring: Keyring
) -> None:
    """The address is sealed to its address_key, and that is made with its own tenant's secret."""
    tool, _ = both
    entry = an_entry(keyring, tool, "acme", SHARED, "given")
    other = keyring.address_key("globex", tool.channel, tool.address(SHARED))
    assert other != entry.address_key
    forged = replace(entry, tenant="globex", address_key=other)
    with pytest.raises(Exception, match="cannot be opened"):
        built(forged, keyring, PERMIT, tool.target)
