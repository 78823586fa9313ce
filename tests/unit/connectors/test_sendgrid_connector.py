from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from propagator.connectors.base import PERMIT, Accepted, ConnectionSettings, Push, Refused, Retryable
from propagator.connectors.sendgrid import TYPE
from propagator.errors import DestinationDownError, MisconfiguredError
from tests.call_budget import CountedBudget

CREDENTIALS = {"api_key": "SG.sandbox"}


def connect(sandbox: Any, **overrides: Any) -> Any:
    return sandbox.connect("sendgrid", credentials=CREDENTIALS, path="/sendgrid", channel="email", **overrides)


def allowed() -> bool:
    return True


async def test_a_group_that_does_not_exist_is_found_at_start(open_sandbox: Any) -> None:
    connector = connect(await open_sandbox(), targets=("101", "999", "global"))
    with pytest.raises(MisconfiguredError, match="group 999 does not exist"):
        await connector.verify(budget=CountedBudget())


async def test_a_lift_that_was_cut_and_may_not_be_repeated_may_have_been_executed(push: Callable[..., Push]) -> None:
    """aiohttp repeats a DELETE by itself when a connection that was kept alive is cut."""
    asked: list[str] = []
    serving: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):
            while (head := await reader.readuntil(b"\r\n\r\n")).startswith(b"GET"):
                asked.append("GET")
                body = b'{"id": 101}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + body)
            asked.append(head.split()[0].decode())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = ConnectionSettings(
        destination="s",
        tenant="acme",
        channel="email",
        url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        credentials=CREDENTIALS,
        options={"recheck_seconds": 300},
        targets=("101",),
    )
    connector = TYPE.build(connection)
    leave = iter([True, False])
    with pytest.raises(DestinationDownError, match="broke"):
        await connector.push(
            [push(1, target="101", address="a@example.com", action=PERMIT)],
            guard=lambda: next(leave),
            budget=CountedBudget(),
        )
    assert asked == ["GET", "DELETE"]
    await connector.close()
    await asyncio.gather(*serving)
    server.close()


async def test_a_group_that_was_deleted_since_is_found_before_it_is_written_to(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox()
    connector = connect(sandbox, options={"recheck_seconds": 0})
    await connector.push([push(1, target="101", address="a@example.com")], guard=allowed, budget=CountedBudget())
    gone = {"account": "sendgrid", "kind": "status", "status": 404, "path": "/groups/101", "times": 0}
    await sandbox.order("POST", "/_control/faults", gone)
    with pytest.raises(MisconfiguredError, match="SendGrid would suppress globally"):
        await connector.push([push(2, target="101", address="b@example.com")], guard=allowed, budget=CountedBudget())
    assert await sandbox.states("sendgrid") == {"a@example.com": {"101": "suppressed"}}


async def test_a_group_is_not_looked_up_before_every_write(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    connector = connect(sandbox)
    for number in range(3):
        await connector.push(
            [push(number, target="101", address=f"p{number}@example.com")], guard=allowed, budget=CountedBudget()
        )
    assert [call["method"] for call in await sandbox.calls("sendgrid")] == ["GET", "POST", "POST", "POST"]


async def test_lifting_touches_one_list_only_and_needs_no_entry_there(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox()
    connector = connect(sandbox)
    email = "odd+tag/%41@example.com"
    for target in ("101", "102", "global"):
        await connector.push([push(1, target=target, address=email)], guard=allowed, budget=CountedBudget())
    for _ in range(2):
        (outcome,) = await connector.push(
            [push(2, target="102", address=email, action=PERMIT)], guard=allowed, budget=CountedBudget()
        )
        assert outcome == Accepted(effective=True)
    assert await sandbox.states("sendgrid") == {
        email: {"101": "suppressed", "102": "permitted", "global": "suppressed"}
    }


async def test_an_address_that_is_not_echoed_was_not_taken(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    connector = connect(sandbox)
    await connector.verify(budget=CountedBudget())
    fault = {"account": "sendgrid", "kind": "status", "status": 201, "path": "/suppressions"}
    await sandbox.order("POST", "/_control/faults", fault | {"body": '{"recipient_emails": ["A@example.com"]}'})
    outcomes = await connector.push(
        [push(1, target="global", address="a@example.com"), push(2, target="global", address="b@example.com")],
        guard=allowed,
        budget=CountedBudget(),
    )
    assert outcomes == [Accepted(effective=True), Retryable(reason="unanswered")]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ('{"errors": [{"message": "Invalid email: x"}]}', Refused),
        ('{"errors": [{"message": "unexpected field"}]}', Retryable),
        ("<html>", Retryable),
    ],
)
async def test_only_words_about_the_address_end_a_revocation(
    open_sandbox: Any, push: Callable[..., Push], body: str, outcome: type
) -> None:
    sandbox = await open_sandbox()
    fault = {"account": "sendgrid", "kind": "status", "status": 400, "body": body}
    await sandbox.order("POST", "/_control/faults", fault)
    (given,) = await connect(sandbox).push(
        [push(1, target="global", address="a@example.com")], guard=allowed, budget=CountedBudget()
    )
    assert isinstance(given, outcome)
