"""What the webhook connector sends, verified by the library that Standard Webhooks publishes for receivers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from propagator.connectors import CATALOGUE
from propagator.connectors.base import PERMIT, SUPPRESS, Action, ConnectionSettings, Push
from tests.contract.documented_answers import Provider, Received, Server, providers
from tests.support.call_budget import CountedBudget

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw"
PREVIOUS = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER = "whsec_" + "A" * 32
(WEBHOOK,) = (each for each in providers() if each.name == "webhook")


async def sent(pushes: Sequence[Push], *, url_path: str = "/hook", **credentials: str) -> list[Received]:
    """The requests of one connector with these secrets."""
    async with Server(Provider(name="webhook", facts=WEBHOOK.facts)) as server:
        server.pushes = pushes
        connector = CATALOGUE["webhook"].build(
            ConnectionSettings(
                destination="under-test",
                tenant="acme",
                channel="email",
                url=server.url + url_path,
                credentials=credentials,
                options={"clear_addresses": True, "allow_private": True, "check_url": ""},
                targets=("newsletter",),
            )
        )
        for push in pushes:
            await connector.push([push], guard=lambda: True, budget=CountedBudget())
        await connector.close()
        return server.received


def verified(secret: str, request: Received) -> Any:
    return Webhook(secret).verify(request.body, request.headers)


@pytest.mark.parametrize("action", [SUPPRESS, PERMIT])
@pytest.mark.parametrize(
    "address", ["ann@example.com", "zoë+a/b?c#d%@exämple.com", '"a b"@example.com', "*@example.com"]
)
async def test_a_message_verifies_and_holds_what_was_signed(action: Action, address: str) -> None:  # R26
    (push,) = WEBHOOK.pushes(action, 1)
    (request,) = await sent([replace(push, address=address)], secret=SECRET)
    message = verified(SECRET, request)
    assert message == json.loads(request.body)
    assert (message["data"]["address"], message["data"]["purposes"]["newsletter"]["permitted"]) == (
        address,
        action == PERMIT,
    )


async def test_both_secrets_verify_while_one_replaces_the_other() -> None:
    (request,) = await sent(WEBHOOK.pushes(SUPPRESS, 1), secret=SECRET, previous_secret=PREVIOUS)
    assert verified(SECRET, request) == verified(PREVIOUS, request)
    with pytest.raises(WebhookVerificationError):
        verified(OTHER, request)


@pytest.mark.parametrize("what", ["body", "webhook-id", "webhook-timestamp"])
async def test_nothing_that_is_signed_can_be_changed(what: str) -> None:
    (request,) = await sent(WEBHOOK.pushes(SUPPRESS, 1), secret=SECRET)
    verified(SECRET, request)
    if what == "body":
        changed = replace(request, body=request.body.replace(b"false", b"true"))
    elif what == "webhook-id":
        changed = replace(request, headers=request.headers | {what: "another"})
    else:
        changed = replace(request, headers=request.headers | {what: str(int(request.headers[what]) - 1)})
    with pytest.raises(WebhookVerificationError):
        verified(SECRET, changed)


async def test_a_retry_has_the_same_id_and_verifies_too() -> None:
    (push,) = WEBHOOK.pushes(SUPPRESS, 1)
    first, second = await sent([push, push], secret=SECRET)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert verified(SECRET, first) == verified(SECRET, second)
