"""`consent-relay destinations check --verify` asks each tool what `check` alone cannot know."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from propagator.cli.destinations import destinations
from provider_sandbox.config import GenesysOrg, SandboxConfig

LISTS = [f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2)]


async def check(tmp_path: Path, sandbox: Any, *arguments: str, target: str = LISTS[1]) -> Result:
    path = tmp_path / "destinations.yaml"
    (tmp_path / "id").write_text("sandbox-genesys-client")
    (tmp_path / "secret").write_text("sandbox-genesys-secret")
    path.write_text(
        f"destinations:\n  - {{name: calls, tenant: acme, connector: genesys, channel: voice,\n"
        f"     url: {sandbox.url}/genesys, options: {{login_url: {sandbox.url}/genesys}},\n"
        f"     credentials: {{client_id: {{file: id}}, client_secret: {{file: secret}}}},\n"
        f'     purposes: {{promotions: "{LISTS[0]}", survey: "{target}"}}}}\n'
    )
    return await asyncio.to_thread(CliRunner().invoke, destinations, ["check", str(path), *arguments])


async def test_a_list_that_no_campaign_names_is_a_warning(tmp_path: Path, open_sandbox: Any) -> None:
    sandbox = await open_sandbox(SandboxConfig(genesys=GenesysOrg(campaigns={"spring": (LISTS[0],)})))
    result = await check(tmp_path, sandbox, "--verify")
    assert result.exit_code == 0, result.output
    assert "    verified: takes our credentials" in result.output
    assert f"    WARNING: list {LISTS[1]}: no campaign names it" in result.output
    assert LISTS[0] not in result.output.partition("verified")[2]


async def test_campaigns_that_may_not_be_read_are_a_warning(tmp_path: Path, open_sandbox: Any) -> None:
    permissions = ("outbound:dncList:view", "outbound:dnc:edit")
    sandbox = await open_sandbox(SandboxConfig(genesys=GenesysOrg(permissions=permissions)))
    result = await check(tmp_path, sandbox, "--verify")
    assert result.exit_code == 0, result.output
    assert "WARNING: not known whether suppressions have an effect" in result.output
    assert "outbound:campaign:view" in result.output


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"contact_methods": {LISTS[1]: "Email"}}, f"ERROR: list {LISTS[1]} is for Email"),
        ({"permissions": ("outbound:dnc:edit",)}, "ERROR: not verified: .*outbound:dncList:view"),
        ({"client_secret": "another"}, "ERROR: not verified: credentials"),
    ],
)
async def test_what_keeps_pushes_waiting_is_an_error(
    tmp_path: Path, open_sandbox: Any, members: dict[str, Any], error: str
) -> None:
    result = await check(tmp_path, await open_sandbox(SandboxConfig(genesys=GenesysOrg(**members))), "--verify")
    assert result.exit_code == 1
    assert re.search(error, result.output), result.output


async def test_without_it_nothing_is_called(tmp_path: Path, open_sandbox: Any) -> None:
    sandbox = await open_sandbox()
    result = await check(tmp_path, sandbox)
    assert result.exit_code == 0, result.output
    assert await sandbox.calls("genesys") == []
