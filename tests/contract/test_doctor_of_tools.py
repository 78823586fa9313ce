"""What `consent-relay doctor` finds at each tool, over HTTP against the sandbox: no connector is left out. # R26"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from consent_service.doctor.findings import Finding, Result
from propagator.cli.doctor import judge
from propagator.cli.verification import verify
from propagator.config.reader import read
from propagator.connectors import CATALOGUE
from provider_sandbox.app import create_app, start
from provider_sandbox.config import GenesysOrg, SandboxConfig, SendGridAccount, TwilioAccount
from tests.support.certificates import Authority

LIST, NO_LIST = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-00000000000f"
SERVICE, NO_SERVICE = "MG" + "1" * 32, "MG" + "f" * 32
OTHER_SECRET = "whsec_" + "d3Jvbmcg" * 4


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A destination of one connector at the sandbox. ``asked``: what the check asks for; ``lacking``: the account
    without a permission that is needed, and what names it."""

    connector: str
    channel: str
    credentials: dict[str, str]
    wrong: dict[str, str]
    purposes: str
    unknown: str
    asked: str
    lacking: tuple[SandboxConfig, Result, str] | None
    path: str = ""
    pushes_wait: bool = False
    """Whether pushes depend on the look-ups."""
    options: dict[str, str] = field(default_factory=dict)

    def entry(self, url: str, directory: Path, **changes: Any) -> str:
        """The destinations file with it alone."""
        for name, secret in (changes.get("credentials") or self.credentials).items():
            (directory / name).write_text(secret)
        files = ", ".join(f"{name}: {{file: {directory / name}}}" for name in self.credentials)
        options = ", ".join(f"{name}: {value.replace('URL', url)}" for name, value in self.options.items())
        return (
            "destinations:\n"
            f"  - {{name: under-test, tenant: acme, connector: {self.connector}, channel: {self.channel},\n"
            f"     url: {url}{self.path or '/' + self.connector}, timeout_seconds: {changes.get('timeout', 10)},\n"
            f"     credentials: {{{files}}}, options: {{{options}}},\n"
            f"     purposes: {changes.get('purposes', self.purposes)}}}\n"
        )


TOOLS = [
    Tool(
        connector="twilio",
        channel="sms",
        credentials={"account_sid": "AC" + "0" * 32, "auth_token": "sandbox-twilio-token"},
        wrong={"account_sid": "AC" + "0" * 32, "auth_token": "another"},
        purposes=f"{{promotions: {SERVICE}}}",
        unknown=f"{{promotions: {NO_SERVICE}}}",
        asked="Accounts",
        lacking=None,  # An account's own credentials lack nothing; API keys are below.
    ),
    Tool(
        connector="twilio",
        channel="sms",
        credentials={"account_sid": "SK" + "0" * 32, "auth_token": "sandbox-twilio-secret"},
        wrong={"account_sid": "SK" + "0" * 32, "auth_token": "another"},
        purposes=f"{{promotions: {SERVICE}}}",
        unknown=f"{{promotions: {NO_SERVICE}}}",
        asked="Services",
        lacking=(
            SandboxConfig(twilio=TwilioAccount(api_key_reads_services=False)),
            Result.WARNING,
            "the permission to read it",
        ),
    ),
    Tool(
        connector="sendgrid",
        channel="email",
        credentials={"api_key": "SG.sandbox"},
        wrong={"api_key": "SG.another"},
        purposes='{promotions: "101"}',
        unknown='{promotions: "999"}',
        asked="groups",
        lacking=(
            SandboxConfig(sendgrid=SendGridAccount(scopes=("asm.groups.read",))),
            Result.WARNING,
            "asm.groups.suppressions.create",
        ),
        pushes_wait=True,
    ),
    Tool(
        connector="genesys",
        channel="voice",
        credentials={"client_id": "sandbox-genesys-client", "client_secret": "sandbox-genesys-secret"},
        wrong={"client_id": "sandbox-genesys-client", "client_secret": "another"},
        purposes=f"{{promotions: {LIST}}}",
        unknown=f"{{promotions: {NO_LIST}}}",
        asked="dnclists",
        lacking=(
            SandboxConfig(genesys=GenesysOrg(permissions=("outbound:dnc:edit",))),
            Result.FAULT,
            "outbound:dncList:view",
        ),
        pushes_wait=True,
        options={"login_url": "URL/genesys"},
    ),
    Tool(
        connector="webhook",
        channel="email",
        credentials={"secret": "whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC0wMDAwMDE="},
        wrong={"secret": OTHER_SECRET},
        purposes="same",
        unknown="same",  # Of a webhook's targets nothing can be asked.
        asked="webhook",
        lacking=None,
        options={"allow_private": "true", "check_url": "URL/webhook/crm"},
    ),
]
GLOBAL_ALONE = Tool(
    connector="sendgrid",
    channel="email",
    credentials={"api_key": "SG.sandbox"},
    wrong={"api_key": "SG.another"},
    purposes='{"*": global}',
    unknown="",
    asked="scopes",
    lacking=(
        SandboxConfig(sendgrid=SendGridAccount(scopes=("asm.groups.suppressions.create",))),
        Result.WARNING,
        "asm.suppressions.global.create",
    ),
)
UNASKED = Tool(
    connector="webhook",
    channel="email",
    credentials={"secret": "whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC0wMDAwMDE="},
    wrong={},
    purposes="same",
    unknown="",
    asked="",
    lacking=None,
    options={"allow_private": "true"},
)
ASKED = [*TOOLS, GLOBAL_ALONE]


def named(tool: Tool) -> str:
    return f"{tool.connector}-{'key' if 'SK' in str(tool.credentials) else tool.asked or 'unasked'}"


class Sandbox:
    """A running one, without latency."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = ""
        self._running: Any = None

    async def open(self, config: SandboxConfig | None = None) -> None:
        self._running = await start(create_app(config or SandboxConfig()))
        self.url = self._running.url
        for account in ("twilio", "sendgrid", "genesys", "webhook"):
            await self.order("PUT", f"/_control/latency/{account}", {"p50_ms": 0, "p99_ms": 0})

    async def order(self, method: str, path: str, body: Any) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body) as answer,
        ):
            assert answer.status < 300, await answer.text()

    async def close(self) -> None:
        if self._running is not None:
            await self._running.close()

    async def found(self, tool: Tool, *, url: str = "", **changes: Any) -> Sequence[Finding]:
        file = self.directory / "destinations.yaml"
        file.write_text(tool.entry(url or self.url, self.directory, **changes))
        [declared] = read(file, catalogue=CATALOGUE, channels=("sms", "email", "voice"), keyring=None, environ={})
        verification = await verify(declared)
        credentials = list(declared.connection.credentials)
        return judge("destination under-test", verification, credentials=credentials, paused=False)

    async def one(self, tool: Tool, *, url: str = "", **changes: Any) -> Finding:
        [only] = await self.found(tool, url=url, **changes)
        return only


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    made = Sandbox(tmp_path)
    yield made
    await made.close()


def test_no_connector_is_left_out() -> None:
    assert {each.connector for each in TOOLS} == set(CATALOGUE)


@pytest.mark.parametrize("tool", ASKED, ids=named)
async def test_what_is_right_is_asked_and_ok(sandbox: Sandbox, tool: Tool) -> None:
    await sandbox.open()
    found = await sandbox.one(tool)
    assert (found.result, found.found) == (
        Result.OK,
        "takes our credentials, and knows every target that can be looked up",
    )


@pytest.mark.parametrize("tool", ASKED, ids=named)
async def test_wrong_credentials(sandbox: Sandbox, tool: Tool) -> None:
    await sandbox.open()
    found = await sandbox.one(tool, credentials=tool.wrong)
    assert found.result is Result.FAULT
    assert found.found.startswith("not verified: credentials: ")
    assert f"`credentials` ({', '.join(tool.credentials)})" in found.cure
    assert not any(secret in found.found + found.cure for secret in tool.wrong.values() if len(secret) > 5)


@pytest.mark.parametrize("tool", [each for each in ASKED if each.lacking], ids=named)
async def test_a_missing_permission_is_named(sandbox: Sandbox, tool: Tool) -> None:
    assert tool.lacking is not None
    config, result, name = tool.lacking
    await sandbox.open(config)
    found = await sandbox.one(tool)
    assert found.result is result
    assert name in found.found
    assert found.cure


@pytest.mark.parametrize("tool", [each for each in TOOLS if each.unknown != "same"], ids=named)
async def test_a_target_that_does_not_exist(sandbox: Sandbox, tool: Tool) -> None:
    await sandbox.open(SandboxConfig(twilio=TwilioAccount(senders=(SERVICE,))))
    found = await sandbox.one(tool, purposes=tool.unknown)
    assert found.result is Result.FAULT
    assert "does not exist" in found.found
    assert "`purposes`" in found.cure


@pytest.mark.long
@pytest.mark.parametrize("tool", ASKED, ids=named)
async def test_a_tool_that_does_not_answer_in_time(sandbox: Sandbox, tool: Tool) -> None:
    await sandbox.open()
    account = "webhook/crm" if tool.connector == "webhook" else tool.connector
    await sandbox.order("POST", "/_control/faults", {"account": account, "kind": "hang", "seconds": 2, "times": 0})
    found = await sandbox.one(tool, timeout=0.3)
    assert found.result is (Result.FAULT if tool.pushes_wait else Result.WARNING)
    assert "timeout: no response within 0.3 s" in found.found
    assert ("`timeout_seconds`" in found.cure) is tool.pushes_wait


@pytest.mark.parametrize("tool", [*ASKED, UNASKED], ids=named)
async def test_a_tool_that_takes_no_connection(sandbox: Sandbox, tool: Tool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    found = await sandbox.one(tool, url=url)
    assert (found.result, found.found) == (Result.FAULT, "not verified: unreachable: no connection could be made")
    assert "`url`" in found.cure


@pytest.mark.parametrize("tool", [*ASKED, UNASKED], ids=named)
async def test_a_certificate_of_an_authority_that_is_not_known(sandbox: Sandbox, tool: Tool) -> None:
    identity = Authority.create(sandbox.directory, "authority").sign("tool", host="127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.certificate, identity.key)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = await sandbox.one(tool, url=url)
    assert found.result is Result.FAULT
    assert found.found.startswith("not verified: certificate: the server's TLS certificate is not valid (")
    assert "`url`" in found.found
    assert found.cure.startswith("correct the destination as it says")


@pytest.mark.parametrize("tool", [*ASKED, UNASKED], ids=named)
async def test_a_port_that_speaks_no_tls(sandbox: Sandbox, tool: Tool) -> None:
    def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        found = await sandbox.one(tool, url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert found.result is Result.FAULT
    assert found.found.startswith("not verified: tls: no TLS that both sides speak: check the scheme and the port")


async def test_a_webhook_without_a_check_url_is_connected_to_and_that_is_said(sandbox: Sandbox) -> None:
    await sandbox.open()
    found = await sandbox.one(UNASKED, credentials={"secret": OTHER_SECRET})
    assert found.result is Result.OK, "nothing was asked, so no one has seen that the secret is wrong"
    assert found.found.startswith("a connection was made")
    assert "nothing was asked (`options.check_url`)" in found.found


async def test_a_webhook_at_a_private_address_is_refused_as_its_messages_would_be(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        tool = Tool(**{**UNASKED.__dict__, "options": {}})
        found = await sandbox.one(tool, url=f"https://localhost:{listening.getsockname()[1]}")
    assert found.result is Result.FAULT
    assert found.found.startswith("not verified: private_target: ")
    assert "allow_private" in found.found + found.cure
