from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from propagator.connectors.base import (
    PERMIT,
    SUPPRESS,
    Accepted,
    Action,
    ConnectionSettings,
    Push,
    Refused,
    Retryable,
)
from propagator.connectors.http import HttpClient, HttpResponse
from propagator.connectors.sendgrid import TYPE
from propagator.errors import DestinationDownError, MisconfiguredError
from provider_sandbox.config import SandboxConfig, SendGridAccount
from tests.support.call_budget import CountedBudget

CREDENTIALS = {"api_key": "SG.sandbox"}


def connect(sandbox: Any, **overrides: Any) -> Any:
    return sandbox.connect("sendgrid", credentials=CREDENTIALS, path="/sendgrid", channel="email", **overrides)


def allowed() -> bool:
    return True


async def answer(sandbox: Any, status: int, body: str, *, path: str = "") -> None:
    """Instead of what SendGrid answers to the next request whose path contains `path`."""
    fault = {"account": "sendgrid", "kind": "status", "status": status, "path": path, "body": body}
    await sandbox.order("POST", "/_control/faults", fault)


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


REFUSED_ADDRESS = {"field": "recipient_emails", "message": "invalid email", "help": None}


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        ([REFUSED_ADDRESS], Refused),
        ([REFUSED_ADDRESS | {"message": None, "help": {"x": 1}}], Refused),
        ([REFUSED_ADDRESS | {"message": ["x"]}], Refused),
        ([{"field": "recipient_emails"}], Refused),
        ([None, 7, REFUSED_ADDRESS, REFUSED_ADDRESS], Refused),
        ([REFUSED_ADDRESS, {"field": None, "message": "plan expired"}], Retryable),
        ([{"field": None, "message": "Invalid email: x"}], Retryable),
        ([{"field": "email", "message": "email email"}], Retryable),
        ([{"field": "recipient_emails.0", "message": "email"}], Retryable),
        ([{"field": "Recipient_Emails", "message": "email"}], Retryable),
        ([{"field": ["recipient_emails"], "message": "email"}], Retryable),
        ([{"field": {}, "message": "email"}], Retryable),
        ([{"message": "recipient_emails"}], Retryable),
        ([], Retryable),
        (None, Retryable),
        ("recipient_emails", Retryable),
    ],
)
@pytest.mark.parametrize("action", [SUPPRESS, PERMIT])
async def test_only_the_documented_field_ends_an_address(
    open_sandbox: Any, push: Callable[..., Push], errors: Any, outcome: type, action: Action
) -> None:
    sandbox = await open_sandbox()
    await answer(sandbox, 400, json.dumps({"errors": errors}))
    (given,) = await connect(sandbox).push(
        [push(1, target="global", address="a@example.com", action=action)], guard=allowed, budget=CountedBudget()
    )
    assert isinstance(given, outcome)


@pytest.mark.parametrize("body", ["", "<html>", "[]", "null", '{"errors": {"field": "recipient_emails"}}'])
async def test_a_400_that_is_not_sendgrids_ends_nothing(
    open_sandbox: Any, push: Callable[..., Push], body: str
) -> None:
    sandbox = await open_sandbox()
    await answer(sandbox, 400, body)
    (given,) = await connect(sandbox).push(
        [push(1, target="global", address="a@example.com")], guard=allowed, budget=CountedBudget()
    )
    assert given == Retryable(reason="http_400")


async def test_413_ends_no_address_whatever_its_body(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    await answer(sandbox, 413, json.dumps({"errors": [REFUSED_ADDRESS]}))
    (given,) = await connect(sandbox).push(
        [push(1, target="global", address="a@example.com")], guard=allowed, budget=CountedBudget()
    )
    assert given == Retryable(reason="http_413 recipient_emails")


async def lift(sandbox: Any, push: Callable[..., Push], target: str) -> Any:
    one = push(1, target=target, address="a@example.com", action=PERMIT)
    return await connect(sandbox).push([one], guard=allowed, budget=CountedBudget())


@pytest.mark.parametrize("target", ["101", "global"])
async def test_an_absent_address_is_lifted_already_where_sendgrid_itself_says_so(
    open_sandbox: Any, push: Callable[..., Push], target: str
) -> None:
    sandbox = await open_sandbox()
    assert await lift(sandbox, push, target) == [Accepted(effective=True)]
    for member in ({"field": None, "message": "not found", "help": None}, {"message": None}):
        await answer(sandbox, 404, json.dumps({"errors": [member]}), path="suppressions")
        assert await lift(sandbox, push, target) == [Accepted(effective=True)]


@pytest.mark.parametrize(
    "body", ["", "<html>Not Found", "{}", '{"errors": []}', '{"errors": null}', '{"errors": ["x"]}', '{"error": "x"}']
)
@pytest.mark.parametrize("target", ["101", "global"])
async def test_a_404_of_another_server_lifts_nothing(
    open_sandbox: Any, push: Callable[..., Push], body: str, target: str
) -> None:
    sandbox = await open_sandbox()
    await answer(sandbox, 404, body, path="suppressions")
    with pytest.raises(MisconfiguredError, match="check `url`"):
        await lift(sandbox, push, target)


@pytest.mark.parametrize(("action", "due"), [(SUPPRESS, 201), (PERMIT, 204)])
async def test_only_the_documented_status_acknowledges(
    open_sandbox: Any, push: Callable[..., Push], action: Action, due: int
) -> None:
    sandbox = await open_sandbox()
    one = push(1, target="global", address="a@example.com", action=action)
    for status in {200, 201, 202, 204} - {due}:
        await answer(sandbox, status, '{"recipient_emails": ["a@example.com"]}')
        with pytest.raises(DestinationDownError, match=f"{status} where {due} was due"):
            await connect(sandbox).push([one], guard=allowed, budget=CountedBudget())


async def test_a_null_in_the_echo_spoils_no_other_address(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    await answer(sandbox, 201, '{"recipient_emails": [null, 7, "b@example.com"]}')
    pushes = [push(n, target="global", address=f"{name}@example.com") for n, name in enumerate("ab")]
    outcomes = await connect(sandbox).push(pushes, guard=allowed, budget=CountedBudget())
    assert outcomes == [Retryable(reason="unanswered"), Accepted(effective=True)]


@pytest.mark.parametrize(
    ("target", "action", "path", "scope"),
    [
        ("101", SUPPRESS, "/groups/101", "asm.groups.read"),
        ("101", SUPPRESS, "suppressions", "asm.groups.suppressions.create"),
        ("101", PERMIT, "suppressions", "asm.groups.suppressions.delete"),
        ("global", SUPPRESS, "suppressions", "asm.suppressions.global.create"),
        ("global", PERMIT, "suppressions", "asm.suppressions.global.delete"),
    ],
)
async def test_a_403_names_the_scope_that_the_key_needs(
    open_sandbox: Any, push: Callable[..., Push], target: str, action: Action, path: str, scope: str
) -> None:
    sandbox = await open_sandbox()
    await answer(sandbox, 403, '{"errors": [{"field": null, "message": "access forbidden"}]}', path=path)
    one = push(1, target=target, address="a@example.com", action=action)
    with pytest.raises(MisconfiguredError, match=rf"scope {scope}\b"):
        await connect(sandbox).push([one], guard=allowed, budget=CountedBudget())


async def test_a_subuser_is_named_in_every_request(
    push: Callable[..., Push], monkeypatch: pytest.MonkeyPatch, open_sandbox: Any
) -> None:
    sent: list[Any] = []

    async def call(self: HttpClient, method: str, url: str, **request: Any) -> HttpResponse:
        sent.append(request["headers"].get("on-behalf-of"))
        status, body = {"GET": (200, b'{"id": 101}'), "POST": (201, b'{"recipient_emails": []}')}.get(
            method, (204, b"")
        )
        return HttpResponse(status=status, headers={}, body=body)

    monkeypatch.setattr(HttpClient, "call", call)
    sandbox = await open_sandbox()
    for subuser in ("acme-fr", ""):
        connector = connect(sandbox, targets=("101",), options={"on_behalf_of": subuser})
        await connector.verify(budget=CountedBudget())
        for action in (SUPPRESS, PERMIT):
            one = push(1, target="101", address="a@example.com", action=action)
            await connector.push([one], guard=allowed, budget=CountedBudget())
    assert sent == ["acme-fr"] * 4 + [None] * 4


async def test_a_subuser_that_no_header_can_hold_is_refused_at_start(open_sandbox: Any) -> None:
    sandbox = await open_sandbox()
    for subuser in ("a\r\nX: y", "caf\u00e9"):
        with pytest.raises(MisconfiguredError, match="on_behalf_of"):
            connect(sandbox, options={"on_behalf_of": subuser})


async def test_a_target_is_a_group_or_global() -> None:
    assert [TYPE.target_error(each) is None for each in ("101", "global", "Global", "-1", "9" * 5_000, "\u0663")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


NEEDED = (
    "asm.groups.read",
    "asm.groups.suppressions.create",
    "asm.groups.suppressions.delete",
    "asm.suppressions.global.create",
    "asm.suppressions.global.delete",
)


@pytest.mark.parametrize("missing", ["", *NEEDED])
async def test_the_scopes_of_the_help_are_those_that_are_needed(
    open_sandbox: Any, push: Callable[..., Push], missing: str
) -> None:
    scopes = tuple(scope for scope in NEEDED if scope != missing)
    sandbox = await open_sandbox(SandboxConfig(sendgrid=SendGridAccount(scopes=scopes)))
    connector = connect(sandbox, targets=("101", "global"))
    errors = []
    try:
        await connector.verify(budget=CountedBudget())
    except MisconfiguredError as error:
        errors.append(str(error))
    for number, (target, action) in enumerate([(t, a) for t in ("101", "global") for a in (SUPPRESS, PERMIT)]):
        one = push(number, target=target, address="a@example.com", action=action)
        try:
            (outcome,) = await connector.push([one], guard=allowed, budget=CountedBudget())
            assert isinstance(outcome, Accepted)
        except MisconfiguredError as error:
            errors.append(str(error))
    assert bool(errors) is bool(missing)
    assert all(missing in each for each in errors)


async def test_a_split_pays_for_each_of_its_calls(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    bad = {"account": "sendgrid", "kind": "reject", "addresses": ["p3@example.com"], "times": 0}
    await sandbox.order("POST", "/_control/faults", bad)
    pushes = [push(n, target="101", address=f"p{n}@example.com") for n in range(8)]
    budget = CountedBudget()
    outcomes = await connect(sandbox).push(pushes, guard=allowed, budget=budget)
    assert [isinstance(each, Refused) for each in outcomes] == [n == 3 for n in range(8)]
    assert budget.spent == len(await sandbox.calls("sendgrid")) == 1 + 7


@pytest.mark.parametrize("field", ["recipient_emails", None])
async def test_a_split_ends_when_two_addresses_are_refused_alike(
    open_sandbox: Any, push: Callable[..., Push], field: str | None
) -> None:
    sandbox = await open_sandbox()
    body = json.dumps({"errors": [{"field": field, "message": "no", "help": None}]})
    refusal = {"account": "sendgrid", "kind": "status", "status": 400, "body": body, "times": 0}
    await sandbox.order("POST", "/_control/faults", refusal | {"path": "suppressions"})
    pushes = [push(n, target="101", address=f"p{n}@example.com") for n in range(1_000)]
    budget = CountedBudget()
    outcomes = await connect(sandbox).push(pushes, guard=allowed, budget=budget)
    assert len(set(outcomes)) == 1
    assert isinstance(outcomes[0], Refused if field else Retryable)
    assert budget.spent == len(await sandbox.calls("sendgrid")) < 25
