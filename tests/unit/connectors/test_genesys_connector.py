from __future__ import annotations

import asyncio
import io
import tokenize
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import propagator.connectors.genesys
import propagator.connectors.oauth
from propagator.connectors.base import PERMIT, Accepted, Push, Refused, Retryable
from propagator.errors import MisconfiguredError, ThrottledError
from provider_sandbox.config import GenesysOrg, SandboxConfig
from tests.call_budget import CountedBudget

LIST = "00000000-0000-4000-8000-000000000001"
CREDENTIALS = {"client_id": "sandbox-genesys-client", "client_secret": "sandbox-genesys-secret"}


def connect(sandbox: Any, **overrides: Any) -> Any:
    given = {"targets": (LIST,), "options": {"login_url": f"{sandbox.url}/genesys"}}
    return sandbox.connect("genesys", credentials=CREDENTIALS, path="/genesys", **(given | overrides))


def allowed() -> bool:
    return True


def tokens_of(calls: list[dict[str, Any]]) -> int:
    return sum(call["path"].endswith("/oauth/token") for call in calls)


async def test_a_token_that_was_revoked_is_renewed_once_and_the_call_repeated(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox()
    connector = connect(sandbox)
    await connector.push([push(1, target=LIST)], guard=allowed, budget=CountedBudget())
    await sandbox.order("POST", "/_control/genesys/expire-tokens")
    (outcome,) = await connector.push([push(2, target=LIST)], guard=allowed, budget=CountedBudget())
    assert isinstance(outcome, Accepted)
    calls = await sandbox.calls("genesys")
    assert [call["status"] for call in calls] == [200, 204, 401, 200, 204]


async def test_a_new_token_that_is_refused_too_requires_a_person(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    fault = {"account": "genesys", "kind": "status", "status": 401, "path": "phonenumbers", "times": 0}
    await sandbox.order("POST", "/_control/faults", fault)
    with pytest.raises(MisconfiguredError, match="credentials"):
        await connect(sandbox).push([push(1, target=LIST)], guard=allowed, budget=CountedBudget())
    assert [call["status"] for call in await sandbox.calls("genesys")] == [200, 401, 200, 401]


async def test_many_calls_at_once_ask_for_one_token(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    connector = connect(sandbox)
    await asyncio.gather(
        *(connector.push([push(n, target=LIST)], guard=allowed, budget=CountedBudget()) for n in range(8))
    )
    await sandbox.order("POST", "/_control/genesys/expire-tokens")
    await asyncio.gather(
        *(connector.push([push(n, target=LIST)], guard=allowed, budget=CountedBudget()) for n in range(8))
    )
    assert tokens_of(await sandbox.calls("genesys")) == 2


async def test_a_token_is_renewed_before_it_ends(
    open_sandbox: Any, push: Callable[..., Push], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 89.0, 91.0, 91.0, 92.0])  # the first and the fourth: when each token was given
    monkeypatch.setattr("propagator.connectors.oauth.time", SimpleNamespace(monotonic=lambda: next(clock)))
    connector = connect(sandbox := await open_sandbox(SandboxConfig(genesys=GenesysOrg(token_seconds=100))))
    for number in range(4):
        await connector.push([push(number, target=LIST)], guard=allowed, budget=CountedBudget())
    calls = await sandbox.calls("genesys")
    assert tokens_of(calls) == 2
    assert 401 not in [call["status"] for call in calls]


async def test_the_removal_cap_splits_the_call(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox(SandboxConfig(genesys=GenesysOrg(removals_per_call=100)))
    outcomes = await connect(sandbox).push(
        [push(n, target=LIST, action=PERMIT) for n in range(250)], guard=allowed, budget=CountedBudget()
    )
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert len(await sandbox.states("genesys")) == 250


async def test_one_bad_number_among_1000_is_found_in_about_20_calls(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox()
    bad = push(617).address
    await sandbox.order(
        "POST", "/_control/faults", {"account": "genesys", "kind": "reject", "addresses": [bad], "times": 0}
    )
    outcomes = await connect(sandbox).push(
        [push(n, target=LIST) for n in range(1_000)], guard=allowed, budget=CountedBudget()
    )
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Refused)] == [617]
    assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 999
    assert len(await sandbox.calls("genesys")) <= 22


async def test_a_limit_met_while_splitting_keeps_what_was_settled(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    connector = connect(sandbox)
    await connector.verify(budget=CountedBudget())
    fault = {"account": "genesys", "kind": "reject", "addresses": [push(7).address], "times": 0}
    await sandbox.order("POST", "/_control/faults", fault)
    await sandbox.order("PUT", "/_control/limit/genesys", {"calls": 3, "seconds": 60})
    outcomes = await connector.push([push(n, target=LIST) for n in range(8)], guard=allowed, budget=CountedBudget())
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 4 + [Retryable] * 4
    assert outcomes[-1].reason == "throttled"
    assert outcomes[-1].after_seconds > 0
    with pytest.raises(ThrottledError):
        await connector.push([push(7, target=LIST)], guard=allowed, budget=CountedBudget())


@pytest.mark.parametrize("code", ["dnc.source.operation.not.supported", "dnc.records.per.list.limit.exceeded"])
async def test_a_list_that_cannot_take_numbers_requires_a_person(
    open_sandbox: Any, push: Callable[..., Push], code: str
) -> None:
    sandbox = await open_sandbox()
    fault = {"account": "genesys", "kind": "status", "status": 400, "path": "phonenumbers"}
    await sandbox.order("POST", "/_control/faults", fault | {"body": f'{{"code": "{code}"}}'})
    with pytest.raises(MisconfiguredError, match=LIST):
        await connect(sandbox).push([push(1, target=LIST)], guard=allowed, budget=CountedBudget())


async def test_an_unknown_400_is_never_the_end_of_a_revocation(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    fault = {"account": "genesys", "kind": "status", "status": 400, "path": "phonenumbers", "body": "?"}
    await sandbox.order("POST", "/_control/faults", fault)
    (outcome,) = await connect(sandbox).push([push(1, target=LIST)], guard=allowed, budget=CountedBudget())
    assert outcome == Retryable(reason="http_400")


async def test_a_list_that_does_not_exist_is_found_at_start(open_sandbox: Any) -> None:
    connector = connect(await open_sandbox(), targets=(LIST, "00000000-0000-4000-8000-00000000dead"))
    with pytest.raises(MisconfiguredError, match="00000000dead does not exist"):
        await connector.verify(budget=CountedBudget())


async def test_the_verb_that_empties_a_list_is_never_sent(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    connector = connect(sandbox)
    await connector.verify(budget=CountedBudget())
    for action in ("suppress", "permit"):
        await connector.push(
            [push(n, target=LIST, action=action) for n in range(3)], guard=allowed, budget=CountedBudget()
        )
    assert {call["method"] for call in await sandbox.calls("genesys")} == {"GET", "POST", "PATCH"}


def test_the_verb_that_empties_a_list_is_not_in_the_code() -> None:
    for module in (propagator.connectors.genesys, propagator.connectors.oauth):
        source = Path(str(module.__file__)).read_text("utf-8")
        words = [token.string.upper() for token in tokenize.generate_tokens(io.StringIO(source).readline)]
        assert not any("DELETE" in word for word in words), module.__name__
