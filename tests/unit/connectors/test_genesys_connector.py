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
from propagator.connectors.genesys import PERMISSIONS
from propagator.errors import MisconfiguredError, ThrottledError, UnknownTargetsError
from provider_sandbox.config import GenesysOrg, SandboxConfig
from tests.support.call_budget import CountedBudget

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


async def answers_400(sandbox: Any, code: str, *, times: int = 0) -> None:
    fault = {"account": "genesys", "kind": "status", "status": 400, "path": "phonenumbers", "times": times}
    await sandbox.order("POST", "/_control/faults", fault | {"body": f'{{"code": "{code}"}}'})


async def test_a_list_that_is_not_internal_requires_a_person(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox(SandboxConfig(genesys=GenesysOrg(source_types={LIST: "dnc.com"})))
    with pytest.raises(UnknownTargetsError, match=f"{LIST}: not an internal") as raised:
        await connect(sandbox).push([push(1, target=LIST)], guard=allowed, budget=CountedBudget())
    assert raised.value.action is None
    with pytest.raises(UnknownTargetsError, match=f"{LIST}: not an internal"):
        await connect(sandbox).verify(budget=CountedBudget())


FULL = [
    "dnc.phone.numbers.per.list.limit.exceeded",
    "dnc.phone.numbers.per.organization.limit.exceeded",
    "dnc.records.per.list.limit.exceeded",
    "dnc.records.per.organization.limit.exceeded",
]


@pytest.mark.parametrize("code", FULL)
@pytest.mark.parametrize("size", [1, 2, 1_000])
async def test_a_full_list_requires_a_person_and_ends_nothing(
    open_sandbox: Any, push: Callable[..., Push], code: str, size: int
) -> None:  # R26
    sandbox = await open_sandbox()
    await answers_400(sandbox, code)
    with pytest.raises(UnknownTargetsError, match=f"{LIST}.* full: .*{code}") as raised:
        await connect(sandbox).push([push(n, target=LIST) for n in range(size)], guard=allowed, budget=CountedBudget())
    assert (raised.value.targets.keys(), raised.value.action) == ({LIST}, "suppress")
    assert len(await sandbox.calls("genesys")) <= 12


async def test_what_there_is_space_for_is_taken_and_a_full_list_still_lifts(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox(SandboxConfig(genesys=GenesysOrg(numbers_per_list=5)))
    connector = connect(sandbox)
    outcomes = await connector.push([push(n, target=LIST) for n in range(8)], guard=allowed, budget=CountedBudget())
    assert [isinstance(each, Accepted) for each in outcomes] == [True] * 5 + [False] * 3
    assert all(isinstance(each, Accepted) or each.call_failed for each in outcomes)
    with pytest.raises(UnknownTargetsError, match="full"):
        await connector.push([push(n, target=LIST) for n in range(5, 8)], guard=allowed, budget=CountedBudget())
    lifted = [push(n, target=LIST, action=PERMIT) for n in range(3)]
    assert all(
        isinstance(each, Accepted) for each in await connector.push(lifted, guard=allowed, budget=CountedBudget())
    )
    rest = [push(n, target=LIST) for n in range(5, 8)]
    assert all(isinstance(each, Accepted) for each in await connector.push(rest, guard=allowed, budget=CountedBudget()))


@pytest.mark.parametrize("message", ["null", "{}", "[1]", "7"])
async def test_a_member_of_another_type_hides_no_code(
    open_sandbox: Any, push: Callable[..., Push], message: str
) -> None:
    sandbox = await open_sandbox()
    fault = {"account": "genesys", "kind": "status", "status": 400, "path": "phonenumbers"}
    await sandbox.order("POST", "/_control/faults", fault | {"body": f'{{"message": {message}, "code": "{FULL[0]}"}}'})
    with pytest.raises(UnknownTargetsError, match="full"):
        await connect(sandbox).push([push(1, target=LIST)], guard=allowed, budget=CountedBudget())


@pytest.mark.parametrize("code", ["invalid.value", "constraint.validation", "bad.request"])
async def test_a_code_about_the_request_is_about_the_number_that_is_alone_in_it(
    open_sandbox: Any, push: Callable[..., Push], code: str
) -> None:
    sandbox = await open_sandbox()
    bad = {"account": "genesys", "kind": "reject", "addresses": [push(2).address], "code": code, "times": 0}
    await sandbox.order("POST", "/_control/faults", bad)
    pushes = [push(n, target=LIST) for n in range(4)]
    outcomes = await connect(sandbox).push(pushes, guard=allowed, budget=CountedBudget())
    assert [type(each) for each in outcomes] == [Accepted, Accepted, Refused, Accepted]
    assert outcomes[2].code == code


@pytest.mark.parametrize("code", ["invalid.phone.number", "phone", "dnc.phone.something.new", "no.phone.numbers", ""])
async def test_a_code_that_is_not_documented_ends_nothing(
    open_sandbox: Any, push: Callable[..., Push], code: str
) -> None:
    sandbox = await open_sandbox()
    await answers_400(sandbox, code)
    connector = connect(sandbox)
    (outcome,) = await connector.push([push(1, target=LIST)], guard=allowed, budget=CountedBudget())
    assert outcome == Retryable(reason=code or "http_400")
    outcomes = await connector.push([push(n, target=LIST) for n in range(1_000)], guard=allowed, budget=CountedBudget())
    assert outcomes == [Retryable(reason=code or "http_400", refused=True)] * 1_000
    assert len(await sandbox.calls("genesys")) <= 24


@pytest.mark.parametrize("missing", ["outbound:dncList:view", "outbound:dnc:edit"])
async def test_the_permission_that_is_missing_is_named(
    open_sandbox: Any, push: Callable[..., Push], missing: str
) -> None:
    permissions = tuple(each for each in PERMISSIONS if each != missing)
    connector = connect(await open_sandbox(SandboxConfig(genesys=GenesysOrg(permissions=permissions))))

    async def start() -> None:
        await connector.verify(budget=CountedBudget())
        await connector.push([push(1, target=LIST)], guard=allowed, budget=CountedBudget())

    with pytest.raises(MisconfiguredError, match=f"403 missing.any.permissions: .*{missing}") as raised:
        await start()
    assert raised.value.reason == "credentials"


async def test_a_permission_that_only_genesys_knows_of_is_named_too(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox()
    body = '{"code": "missing.permissions", "message": "You are missing: [outbound:dnc:update]"}'
    fault = {"account": "genesys", "kind": "status", "status": 403, "path": "phonenumbers", "body": body}
    await sandbox.order("POST", "/_control/faults", fault)
    with pytest.raises(MisconfiguredError, match="outbound:dnc:edit, outbound:dnc:update"):
        await connect(sandbox).push([push(1, target=LIST)], guard=allowed, budget=CountedBudget())


@pytest.mark.parametrize(("method", "right"), [("Phone", True), ("Any", True), ("Email", False), ("WhatsApp", False)])
async def test_a_list_of_which_the_numbers_block_no_call_is_refused_at_start(
    open_sandbox: Any, method: str, right: bool
) -> None:
    connector = connect(await open_sandbox(SandboxConfig(genesys=GenesysOrg(contact_methods={LIST: method}))))
    if right:
        await connector.verify(budget=CountedBudget())
        return
    with pytest.raises(UnknownTargetsError, match=f"{LIST} is for {method}: name one for Phone or Any"):
        await connector.verify(budget=CountedBudget())


OTHER = "00000000-0000-4000-8000-000000000002"


async def test_a_list_that_no_campaign_names_stops_no_call(open_sandbox: Any) -> None:  # R47
    campaigns = {f"campaign {number}": () for number in range(150)} | {"the last": (LIST,)}
    sandbox = await open_sandbox(SandboxConfig(genesys=GenesysOrg(campaigns=campaigns)))
    budget = CountedBudget()
    found = await connect(sandbox, targets=(LIST, OTHER)).verify(budget=budget)
    assert found.ineffective.keys() == {OTHER}
    assert "stops no call" in found.ineffective[OTHER]
    assert found.doubt is None
    assert budget.spent == len(await sandbox.calls("genesys")) == 5
    assert not (await connect(sandbox).verify(budget=CountedBudget())).ineffective


async def test_campaigns_that_may_not_be_read_are_reported_and_keep_nothing_from_being_sent(open_sandbox: Any) -> None:
    permissions = ("outbound:dncList:view", "outbound:dnc:edit")
    connector = connect(await open_sandbox(SandboxConfig(genesys=GenesysOrg(campaigns={}, permissions=permissions))))
    found = await connector.verify(budget=CountedBudget())
    assert not found.ineffective
    assert "outbound:campaign:view" in found.doubt


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
