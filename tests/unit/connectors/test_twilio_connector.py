from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest

from propagator.connectors.base import PERMIT, SUPPRESS, Accepted, Push, Refused, Retryable
from propagator.connectors.http import HttpClient, HttpResponse
from propagator.errors import MisconfiguredError
from provider_sandbox.config import SandboxConfig, TwilioAccount
from tests.call_budget import CountedBudget

SENDER = "MG" + "1" * 32
OTHER = "MG" + "2" * 32
CREDENTIALS = {"account_sid": "AC00000000000000000000000000000000", "auth_token": "sandbox-twilio-token"}


def connect(sandbox: Any, **overrides: Any) -> Any:
    return sandbox.connect("twilio", credentials=CREDENTIALS, path="/twilio", **overrides)


def allowed() -> bool:
    return True


async def reject(sandbox: Any, address: str, code: str) -> None:
    fault = {"account": "twilio", "kind": "reject", "addresses": [address], "code": code}
    await sandbox.order("POST", "/_control/faults", fault)


@pytest.mark.parametrize(
    ("code", "action", "outcome"),
    [
        ("30646 INVALID_CONTACT_ID", SUPPRESS, Refused),
        ("30646 INTERNAL_SERVER_ERROR", SUPPRESS, Retryable),
        ("99999 SOMETHING_NEW", SUPPRESS, Retryable),
        ("21211 not a number", SUPPRESS, Refused),
        ("21610 unsubscribed", SUPPRESS, Accepted),
        ("21610 unsubscribed", PERMIT, Refused),
    ],
)
async def test_each_item_has_its_own_end(
    open_sandbox: Any, push: Callable[..., Push], code: str, action: Any, outcome: type
) -> None:
    sandbox = await open_sandbox()
    await reject(sandbox, push(1).address, code)
    outcomes = await connect(sandbox).push(
        [push(n, target=SENDER, action=action) for n in (1, 2)], guard=allowed, budget=CountedBudget()
    )
    assert [type(one) for one in outcomes] == [outcome, Accepted]


async def test_one_call_holds_several_actions_and_senders(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    pushes = [push(1, target=SENDER), push(2, target=OTHER), push(3, target=SENDER, action=PERMIT)]
    outcomes = await connect(sandbox).push(pushes, guard=allowed, budget=CountedBudget())
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert list((await sandbox.states("twilio")).values()) == [
        {SENDER: "suppressed"},
        {OTHER: "suppressed"},
        {SENDER: "permitted"},
    ]
    assert len(await sandbox.calls("twilio")) == 1


async def test_a_sender_that_twilio_does_not_know_requires_a_person(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox(SandboxConfig(twilio=TwilioAccount(senders=(SENDER,))))
    connector = connect(sandbox)
    with pytest.raises(MisconfiguredError, match="sender"):
        await connector.push([push(1, target=OTHER), push(2, target=OTHER)], guard=allowed, budget=CountedBudget())
    outcomes = await connector.push(
        [push(1, target=OTHER), push(2, target=SENDER)], guard=allowed, budget=CountedBudget()
    )
    assert [type(outcome) for outcome in outcomes] == [Retryable, Accepted]


async def test_a_smaller_cap_than_ours_splits_the_call(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox(SandboxConfig(twilio=TwilioAccount(items_per_call=10)))
    outcomes = await connect(sandbox).push(
        [push(n, target=SENDER) for n in range(25)], guard=allowed, budget=CountedBudget()
    )
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 25


async def test_the_request_is_as_documented(
    open_sandbox: Any, push: Callable[..., Push], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {}

    async def call(self: HttpClient, method: str, url: str, **request: Any) -> HttpResponse:
        sent.update(request, method=method, url=url)
        return HttpResponse(status=201, headers={}, body=b'{"items": []}')

    monkeypatch.setattr(HttpClient, "call", call)
    connector = connect(await open_sandbox(), url=None, options={"source": "website"})
    (outcome,) = await connector.push([push(1, target=SENDER)], guard=allowed, budget=CountedBudget())
    assert outcome == Retryable(reason="unanswered")
    assert (sent["method"], sent["url"]) == ("POST", "https://accounts.twilio.com/v1/Consents/Bulk")
    (item,) = parse_qs(sent["body"].decode())["Items"]
    assert json.loads(item) == {
        "contact_id": "+33639980001",
        "correlation_id": push(1).push_id,
        "sender_id": SENDER,
        "status": "opt-out",
        "source": "website",
        "date_of_consent": "2025-10-09T08:53:20Z",
    }
