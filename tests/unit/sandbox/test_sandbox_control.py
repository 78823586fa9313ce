from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl
from click.testing import CliRunner

from provider_sandbox.__main__ import sandbox
from provider_sandbox.app import create_app, start
from provider_sandbox.change_log import FileChangeLog
from provider_sandbox.config import SandboxConfig, load
from provider_sandbox.provider_state import SUPPRESSED, ProviderState

SENDGRID = {"Authorization": "Bearer SG.sandbox"}
PATH = "/sendgrid/v3/asm/groups/101/suppressions"
BODY = {"recipient_emails": ["a@example.com"]}


async def suppress(client: Any) -> tuple[int, Any, Any]:
    return await client.call("POST", PATH, json=BODY, headers=SENDGRID)


async def order(client: Any, **fault: Any) -> None:
    status, _, _ = await client.call("POST", "/_control/faults", json={"account": "sendgrid", **fault})
    assert status == 200


async def test_a_status_is_answered_so_many_times_and_does_nothing(open_sandbox: Any) -> None:
    client = await open_sandbox()
    await order(client, kind="status", status=429, retry_after="7", times=2)
    first, second, third = [await suppress(client) for _ in range(3)]
    assert [first[0], second[0], third[0]] == [429, 429, 201]
    assert first[2]["Retry-After"] == "7"
    details = (await client.state("sendgrid", "?details=1"))["states"]["a@example.com"]["101"]
    assert (details["state"], details["informed"]) == ("suppressed", 1)


@pytest.mark.parametrize("kind", ["cut", "garbage"])
async def test_an_answer_that_breaks_comes_after_the_deed(open_sandbox: Any, kind: str) -> None:
    client = await open_sandbox()
    await order(client, kind=kind)
    with pytest.raises(aiohttp.ClientError):
        await suppress(client)
    assert (await client.state("sendgrid"))["counts"]["suppressed"] == 1


@pytest.mark.parametrize("fault", [{"kind": "reset"}, {"kind": "hang", "seconds": 0.05}])
async def test_a_lost_call_does_nothing_and_is_in_the_journal(open_sandbox: Any, fault: dict[str, Any]) -> None:
    client = await open_sandbox()
    await order(client, **fault)
    with pytest.raises(aiohttp.ClientError):
        await suppress(client)
    assert (await client.state("sendgrid"))["counts"]["suppressed"] == 0
    (call,) = await client.request_log("sendgrid")
    assert (call["status"], call["fault"]) == (None, fault["kind"])


async def test_a_late_call_is_done_after_the_caller_gave_up(open_sandbox: Any) -> None:
    client = await open_sandbox()
    await order(client, kind="late", seconds=0.3)
    with pytest.raises(TimeoutError):
        await client.call("POST", PATH, json=BODY, headers=SENDGRID, timeout=aiohttp.ClientTimeout(total=0.1))
    assert (await client.state("sendgrid"))["counts"]["suppressed"] == 0
    deadline = asyncio.get_running_loop().time() + 5
    while (await client.state("sendgrid"))["counts"]["suppressed"] == 0:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


async def test_an_outage_lasts_until_it_is_lifted(open_sandbox: Any) -> None:
    client = await open_sandbox()
    await client.call("PUT", "/_control/outage/sendgrid", json={"mode": "unavailable"})
    assert (await suppress(client))[0] == 503
    await client.call("PUT", "/_control/outage/sendgrid", json={"mode": "reset"})
    with pytest.raises(aiohttp.ClientError):
        await suppress(client)
    await client.call("PUT", "/_control/outage/sendgrid", json={"mode": "off"})
    assert (await suppress(client))[0] == 201


async def test_a_rejected_address_fails_the_whole_call_where_the_provider_is_all_or_nothing(
    open_sandbox: Any,
) -> None:
    client = await open_sandbox()
    await order(client, kind="reject", addresses=["b@example.com"], times=0)
    both = {"recipient_emails": ["a@example.com", "b@example.com"]}
    assert (await client.call("POST", PATH, json=both, headers=SENDGRID))[0] == 400
    assert (await suppress(client))[0] == 201


async def test_a_limit_can_be_changed_and_a_reset_forgets_everything(open_sandbox: Any) -> None:
    client = await open_sandbox()
    await client.call("PUT", "/_control/limit/sendgrid", json={"calls": 1, "seconds": 60})
    assert [(await suppress(client))[0] for _ in range(2)] == [201, 429]
    await client.call("POST", "/_control/reset")
    assert (await client.call("GET", "/_state"))[1]["accounts"] == {}
    assert (await suppress(client))[0] == 201


async def test_each_named_receiver_is_an_account_of_its_own(open_sandbox: Any) -> None:
    client = await open_sandbox()
    await client.call("PUT", "/_control/outage/webhook/crm", json={"mode": "unavailable"})
    assert (await client.call("POST", "/webhook/crm"))[0] == 503
    assert (await client.call("POST", "/webhook/other"))[0] == 401
    assert (await client.call("POST", "/webhook"))[0] == 401
    accounts = (await client.call("GET", "/_state"))[1]["accounts"]
    assert {name: held["calls"] for name, held in accounts.items()} == {
        "webhook": 1,
        "webhook/crm": 1,
        "webhook/other": 1,
    }


async def test_latency_is_drawn_for_each_call(open_sandbox: Any) -> None:
    client = await open_sandbox()
    await client.call("PUT", "/_control/latency/sendgrid", json={"p50_ms": 50, "p99_ms": 50})
    began = asyncio.get_running_loop().time()
    await suppress(client)
    assert asyncio.get_running_loop().time() - began >= 0.049


async def test_a_fault_that_does_not_exist_is_refused(open_sandbox: Any) -> None:
    client = await open_sandbox()
    status, text, _ = await client.call("POST", "/_control/faults", json={"account": "x", "kind": "explode"})
    assert (status, "kind" in text) == (400, True)


async def test_what_was_recorded_survives_a_restart_with_a_state_file(open_sandbox: Any, tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    log = FileChangeLog(path)
    client = await open_sandbox(SandboxConfig(), log)
    await suppress(client)
    before = await client.state("sendgrid")
    log.close()
    with path.open("ab") as torn:
        torn.write(b'["sendgrid","b@exam')  # a kill -9 in the middle of a line
    again = FileChangeLog(path)
    after = ProviderState(again)
    after.record("sendgrid", "c@example.com", "101", SUPPRESSED)
    again.close()
    assert after.snapshot("sendgrid")["states"] == before["states"] | {"c@example.com": {"101": "suppressed"}}
    assert path.read_bytes().count(b"\n") == 2


def test_a_wrong_config_names_the_field(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.toml"
    path.write_text('[twilio]\nitems_per_call = "many"\n')
    result = CliRunner().invoke(sandbox, ["--config", str(path)])
    assert result.exit_code == 2
    assert "items_per_call" in result.output
    path.write_text("[twilio]\nitems_per_call = 30\n[genesys]\ntoken_seconds = 2\n")
    assert load(path).twilio.items_per_call == 30


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(user, password)}


async def test_control_and_what_it_holds_need_the_token() -> None:
    running = await start(create_app(SandboxConfig(control_token="hush-77")))
    async with aiohttp.ClientSession() as session:
        for method, path in [
            ("POST", "/_control/faults"),
            ("PUT", "/_control/outage/twilio"),
            ("POST", "/_control/reset"),
            ("GET", "/_state"),
            ("GET", "/_state/twilio"),
            ("GET", "/_requests/twilio"),
            ("GET", "/%5Fstate"),
        ]:
            for headers in ({}, basic("control", "hush"), basic("other", "hush-77"), {"Authorization": "Basic \xe9"}):
                url = yarl.URL(running.url + path, encoded=True)
                async with session.request(method, url, headers=headers) as answer:
                    assert answer.status == 401
                    assert "hush" not in await answer.text()
        async with session.get(running.url + "/_state", headers=basic("control", "hush-77")) as answer:
            assert answer.status == 200
        async with session.get(running.url + "/readyz") as answer:
            assert answer.status == 200
    await running.close()
