"""One contract for every connector, over real HTTP against the sandbox that implements its provider's protocol."""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import logging
import time
import traceback
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from propagator.connectors import CATALOGUE
from propagator.connectors.base import (
    PERMIT,
    SUPPRESS,
    Accepted,
    Action,
    CallBudget,
    ConnectionSettings,
    Connector,
    Outcome,
    Push,
    Refused,
    Retryable,
)
from propagator.errors import (
    CallFailedError,
    DestinationDownError,
    MisconfiguredError,
    SendNotAllowedError,
    TenantMismatchError,
    ThrottledError,
)
from propagator.sending.rate_limiter import RateLimiter
from provider_sandbox.app import create_app, start
from provider_sandbox.config import SandboxConfig
from tests.support.call_budget import CountedBudget


@dataclass(frozen=True, kw_only=True)
class Case:
    """One connector, an account of it in the sandbox, and what that provider answers for a refused address."""

    name: str
    path: str
    channel: str
    credentials: dict[str, str]
    targets: tuple[str, str]
    refusal: type[Outcome]
    reject_code: str = ""

    def address(self, number: int) -> str:
        return f"person{number}@example.com" if self.channel == "email" else f"+3363998{number:04d}"


CASES = [
    Case(
        name="twilio",
        path="/twilio",
        channel="sms",
        credentials={"account_sid": "AC00000000000000000000000000000000", "auth_token": "sandbox-twilio-token"},
        targets=("MG" + "1" * 32, "MG" + "2" * 32),
        refusal=Refused,
        reject_code="30646 INVALID_CONTACT_ID",
    ),
    Case(
        name="sendgrid",
        path="/sendgrid",
        channel="email",
        credentials={"api_key": "SG.sandbox"},
        targets=("101", "global"),
        refusal=Refused,
    ),
    Case(
        name="genesys",
        path="/genesys",
        channel="voice",
        credentials={"client_id": "sandbox-genesys-client", "client_secret": "sandbox-genesys-secret"},
        targets=("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"),
        refusal=Refused,
    ),
    Case(
        name="webhook",
        path="/webhook",
        channel="email",
        credentials={"secret": "whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC0wMDAwMDE="},
        targets=("newsletter", "survey"),
        refusal=Retryable,
    ),
]


def allowed() -> bool:
    return True


def not_allowed() -> bool:
    return False


class Rig:
    """The connector of one case, the sandbox it talks to, and the sandbox's switches."""

    def __init__(self, case: Case, url: str, session: aiohttp.ClientSession) -> None:
        self.case = case
        self.url = url
        self._session = session
        self._versions = 1_760_000_000_000_000
        self.connector = self.open()

    def open(self, **overrides: Any) -> Connector:
        connector_type = CATALOGUE[self.case.name]
        options: dict[str, Any] = {name: option.default for name, option in connector_type.options.items()}
        if self.case.name == "webhook":
            options |= {"allow_private": True, "clear_addresses": True}
        if self.case.name == "genesys":
            options |= {"login_url": self.url + self.case.path}
        given: dict[str, Any] = {
            "destination": "under-test",
            "tenant": "acme",
            "channel": self.case.channel,
            "url": self.url + self.case.path,
            "credentials": self.case.credentials,
            "options": options,
            "targets": self.case.targets,
            "timeout_seconds": 10.0,
        }
        return connector_type.build(ConnectionSettings(**(given | overrides)))

    def push(self, number: int = 1, *, action: Action = SUPPRESS, target: int = 0) -> Push:
        self._versions += 1
        name = self.case.targets[target]
        return Push(
            push_id=hashlib.sha256(f"{number}|{name}|{self._versions}".encode()).hexdigest()[:32],
            tenant="acme",
            channel=self.case.channel,
            address_key=f"k1.{number}",
            address=self.case.address(number),
            action=action,
            target=name,
            purposes=("newsletter",) if target == 0 else ("survey",),
            reason="withdrawn" if action == SUPPRESS else "given",
            decision_ids=("019aa000-0000-7000-8000-000000000001",),
            version=self._versions,
            occurred_at=1_760_000_000_000_000,
            recorded_at=1_760_000_000_500_000,
        )

    async def send(
        self, *pushes: Push, connector: Connector | None = None, budget: CallBudget | None = None
    ) -> Sequence[Outcome]:
        """In as many calls as the connector's capabilities demand."""
        size = CATALOGUE[self.case.name].capabilities.max_batch[pushes[0].action]
        outcomes: list[Outcome] = []
        for first in range(0, len(pushes), size):
            outcomes += await (connector or self.connector).push(
                pushes[first : first + size], guard=allowed, budget=budget or CountedBudget()
            )
        return outcomes

    async def misbehave(self, kind: str, **fault: Any) -> None:
        path = {"genesys": "phonenumbers", "sendgrid": "suppressions", "twilio": "Consents"}.get(self.case.name, "")
        body = {"account": self.case.name, "kind": kind, "path": path, **fault}
        async with self._session.post(self.url + "/_control/faults", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def limit(self, calls: int) -> None:
        path = f"/_control/limit/{self.case.name}"
        async with self._session.put(self.url + path, json={"calls": calls, "seconds": 60}) as answer:
            assert answer.status == 204

    async def states(self, target: int = 0) -> dict[str, str]:
        """What the provider holds for each address at one target."""
        async with self._session.get(f"{self.url}/_state/{self.case.name}") as answer:
            states = (await answer.json())["states"]
        name = self.case.targets[target]
        return {address: targets[name] for address, targets in states.items() if name in targets}

    async def calls(self) -> list[dict[str, Any]]:
        async with self._session.get(f"{self.url}/_requests/{self.case.name}") as answer:
            return list((await answer.json())["calls"])


@pytest.fixture(params=CASES, ids=lambda case: case.name)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    running = await start(create_app(SandboxConfig()))
    async with aiohttp.ClientSession() as session:
        for case in CASES:
            path = f"{running.url}/_control/latency/{case.name}"
            async with session.put(path, json={"p50_ms": 0, "p99_ms": 0}) as answer:
                assert answer.status == 204
        opened = Rig(request.param, running.url, session)
        yield opened
        await opened.connector.close()
    await running.close()


def assert_nothing_clear(rig: Rig, *texts: object) -> None:
    """R13: no address in what a connector returns, raises or logs."""
    for what in texts:
        text = repr(what)
        if isinstance(what, BaseException):
            text += "".join(traceback.format_exception(what))
        for number in range(10):
            assert rig.case.address(number) not in text
            assert rig.case.address(number).replace("+", "%2B") not in text


async def test_a_revocation_and_then_a_permission_are_accepted_and_held(rig: Rig) -> None:
    await rig.connector.verify(budget=CountedBudget())
    assert [type(outcome) for outcome in await rig.send(rig.push(1), rig.push(2))] == [Accepted, Accepted]
    assert await rig.states() == {rig.case.address(1): "suppressed", rig.case.address(2): "suppressed"}
    (outcome,) = await rig.send(rig.push(1, action=PERMIT))
    assert isinstance(outcome, Accepted)
    assert (await rig.states())[rig.case.address(1)] == "permitted"
    assert (await rig.states())[rig.case.address(2)] == "suppressed"


async def test_one_target_is_independent_of_another(rig: Rig) -> None:  # R3
    await rig.send(rig.push(1, target=1))
    assert await rig.states(0) == {}
    await rig.send(rig.push(1, target=0))
    await rig.send(rig.push(1, target=0, action=PERMIT))
    assert (await rig.states(1))[rig.case.address(1)] == "suppressed"


async def test_the_largest_batch_is_one_call(rig: Rig) -> None:
    connector_type = CATALOGUE[rig.case.name]
    for action in (SUPPRESS, PERMIT):
        size = connector_type.capabilities.max_batch[action]
        outcomes = await rig.send(*[rig.push(number, action=action) for number in range(size)])
        assert [type(outcome) for outcome in outcomes] == [Accepted] * size
    writes = [call for call in await rig.calls() if call["addresses"]]
    assert len(writes) == 2


async def test_sending_what_the_provider_holds_already_is_a_success(rig: Rig) -> None:  # R30
    for action in (SUPPRESS, SUPPRESS, PERMIT, PERMIT):
        (outcome,) = await rig.send(rig.push(1, action=action))
        assert isinstance(outcome, Accepted)
    (never_sent_before,) = await rig.send(rig.push(2, action=PERMIT))
    assert isinstance(never_sent_before, Accepted)


async def test_one_refused_address_costs_the_others_nothing(rig: Rig) -> None:
    bad = rig.case.address(3)
    await rig.misbehave("reject", addresses=[bad], code=rig.case.reject_code, times=0)
    outcomes = await rig.send(*[rig.push(number) for number in range(7)])
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 3 + [rig.case.refusal] + [Accepted] * 3
    assert set(await rig.states()) == {rig.case.address(number) for number in range(7)} - {bad}
    assert_nothing_clear(rig, *outcomes)


IN_90_SECONDS = "a date in 90 seconds"
"""Takes the place of the date when the test runs: one of the collection could have passed by then."""


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", (7, 7)),
        ("0.5", (0.5, 0.5)),
        ("999999999", (3_600, 3_600)),
        ("0", (None, None)),
        ("0.0", (None, None)),
        ("-1", (None, None)),
        ("soon", (None, None)),
        (None, (None, None)),
        (IN_90_SECONDS, (1, 90)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", (None, None)),
    ],
)
async def test_429_is_throttled_with_the_providers_time_if_it_gave_one(
    rig: Rig, header: str | None, seconds: tuple[float | None, float | None]
) -> None:
    if header == IN_90_SECONDS:
        header = email.utils.formatdate(time.time() + 90, usegmt=True)
    await rig.misbehave("status", status=429, retry_after=header)
    with pytest.raises(ThrottledError) as raised:
        await rig.send(rig.push(1))
    low, high = seconds
    assert raised.value.retry_after == low if low == high else low < raised.value.retry_after <= high
    assert await rig.states() == {}
    (again,) = await rig.send(rig.push(1))
    assert isinstance(again, Accepted)


async def test_over_the_providers_own_limit_is_throttled(rig: Rig) -> None:
    await rig.send(rig.push(1))
    await rig.limit(1)
    await rig.send(rig.push(2))
    with pytest.raises(ThrottledError) as raised:
        await rig.send(rig.push(3))
    if rig.case.name != "twilio":  # which alone gives no time
        assert 0 < raised.value.retry_after <= 61


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_a_failure_of_the_provider_means_down(rig: Rig, status: int) -> None:
    await rig.misbehave("status", status=status, body=f"failed for {rig.case.address(1)}")
    with pytest.raises(DestinationDownError) as raised:
        await rig.send(rig.push(1))
    assert raised.value.reason == f"http_{status}"
    assert_nothing_clear(rig, raised.value)


async def test_503_with_a_time_is_throttled(rig: Rig) -> None:
    await rig.misbehave("status", status=503, retry_after="3")
    with pytest.raises(ThrottledError) as raised:
        await rig.send(rig.push(1))
    assert raised.value.retry_after == 3


@pytest.mark.long
async def test_silence_ends_with_the_timeout(rig: Rig) -> None:
    connector = rig.open(timeout_seconds=0.3)
    await rig.send(rig.push(2), connector=connector)
    await rig.misbehave("hang", seconds=3)
    began = time.monotonic()
    with pytest.raises(DestinationDownError) as raised:
        await rig.send(rig.push(1), connector=connector)
    assert raised.value.reason == "timeout"
    assert time.monotonic() - began < 2
    assert_nothing_clear(rig, raised.value)
    await connector.close()


@pytest.mark.parametrize(("kind", "done"), [("reset", False), ("cut", True)])
@pytest.mark.parametrize("action", [SUPPRESS, PERMIT])
async def test_a_broken_connection_is_down_and_the_repetition_does_no_harm(
    rig: Rig, kind: str, done: bool, action: Action
) -> None:
    # aiohttp itself repeats a DELETE (an idempotent call) once on a fresh connection: break that one too.
    await rig.misbehave(kind, times=2 if (rig.case.name, action, kind) == ("sendgrid", PERMIT, "reset") else 1)
    push = rig.push(1, action=action)
    with pytest.raises(DestinationDownError) as raised:
        await rig.send(push)
    assert raised.value.reason == "cut"
    state = "suppressed" if action == SUPPRESS else "permitted"
    assert await rig.states() == ({rig.case.address(1): state} if done else {})
    assert_nothing_clear(rig, raised.value)
    (again,) = await rig.send(push)
    assert isinstance(again, Accepted)
    assert await rig.states() == {rig.case.address(1): state}


@pytest.mark.parametrize("action", [SUPPRESS, PERMIT])
@pytest.mark.parametrize("kind", ["garbage", "malformed"])
async def test_an_answer_that_is_not_the_providers_acknowledges_nothing(rig: Rig, kind: str, action: Action) -> None:
    await rig.misbehave(kind)
    if (rig.case.name, kind) == ("webhook", "malformed"):
        # The one exception: any 2xx acknowledges a webhook, whatever its body.
        assert isinstance((await rig.send(rig.push(1, action=action)))[0], Accepted)
        return
    with pytest.raises(DestinationDownError) as raised:
        await rig.send(rig.push(1, action=action))
    assert raised.value.reason == "malformed"
    assert_nothing_clear(rig, raised.value)


@pytest.mark.parametrize("status", [401, 403, 410, 302])
async def test_a_permanent_refusal_of_the_call_requires_a_person(rig: Rig, status: int) -> None:
    await rig.misbehave("status", status=status, times=2)
    with pytest.raises(MisconfiguredError) as raised:
        await rig.send(rig.push(1))
    assert raised.value.detail
    assert_nothing_clear(rig, raised.value)
    assert await rig.states() == {}


async def test_wrong_credentials_require_a_person(rig: Rig) -> None:
    wrong = dict.fromkeys(rig.case.credentials, "whsec_" + "d3Jvbmcg" * 4)
    connector = rig.open(credentials=wrong)
    with pytest.raises(MisconfiguredError) as raised:
        await rig.send(rig.push(1), connector=connector)
    assert raised.value.reason == "credentials"
    assert "whsec_" not in str(raised.value)
    await connector.close()


async def test_no_server_is_down_and_the_guard_is_not_asked(rig: Rig) -> None:
    await rig.send(rig.push(2))  # a token, a check of the group: what precedes the call itself
    asked = []
    connector = rig.open(url="http://127.0.0.1:9")
    if rig.case.name in ("sendgrid", "genesys"):  # Pushes of the others do not depend on what they look up.
        with pytest.raises(DestinationDownError):
            await connector.verify(budget=CountedBudget())
    with pytest.raises(DestinationDownError) as raised:
        await connector.push(
            [rig.push(1, action=PERMIT)], guard=lambda: bool(asked.append(True)), budget=CountedBudget()
        )
    assert (raised.value.reason, asked) == ("unreachable", [])
    await connector.close()


@pytest.mark.parametrize("action", [PERMIT, SUPPRESS])
async def test_a_process_that_may_not_send_writes_nothing(rig: Rig, action: Action) -> None:
    await rig.send(rig.push(1))  # connected, logged in, group looked up
    before = await rig.calls()
    with pytest.raises(SendNotAllowedError):
        await rig.connector.push(
            [rig.push(1 if action == PERMIT else 2, action=action)], guard=not_allowed, budget=CountedBudget()
        )
    assert await rig.calls() == before
    assert await rig.states() == {rig.case.address(1): "suppressed"}


async def test_every_request_is_paid_from_the_accounts_rate_limit(rig: Rig) -> None:  # R26
    """Also access tokens, checks of targets, and each part of a batch that is split to find a refused address."""
    budget = CountedBudget()
    await rig.misbehave("reject", addresses=[rig.case.address(3)], code=rig.case.reject_code, times=0)
    await rig.connector.verify(budget=budget)
    await rig.send(*[rig.push(number) for number in range(7)], budget=budget)
    await rig.send(rig.push(1, action=PERMIT), budget=budget)
    assert budget.spent == len(await rig.calls()) > 1


async def test_a_batch_that_is_refused_whatever_is_in_it_costs_few_requests_all_of_them_paid(rig: Rig) -> None:  # R47
    size = CATALOGUE[rig.case.name].capabilities.max_batch[SUPPRESS]
    await rig.misbehave("status", status=400, times=0)
    budget = CountedBudget()
    outcomes = await rig.send(*[rig.push(number) for number in range(size)], budget=budget)
    assert all(isinstance(each, Retryable) and each.refused == (size > 1) for each in outcomes)
    calls = await rig.calls()
    assert budget.spent == len(calls)
    assert sum(call["status"] == 400 for call in calls) <= 2 * size.bit_length() + 1
    assert await rig.states() == {}


async def test_the_parts_of_a_batch_keep_the_pace_of_the_account(rig: Rig) -> None:  # R47
    await rig.connector.verify(budget=CountedBudget())
    clock = asyncio.get_running_loop().time
    limiter = RateLimiter(per_second=20.0, burst=2, clock=clock)
    await rig.misbehave("reject", addresses=[rig.case.address(3)], code=rig.case.reject_code, times=0)
    began, before = clock(), len(await rig.calls())
    await rig.send(*[rig.push(number) for number in range(7)], budget=limiter.budget(live=True))
    requests = len(await rig.calls()) - before
    assert requests >= 1
    assert clock() - began >= (requests - 2) / 20.0 - 0.01


async def test_no_request_is_made_before_it_is_paid(rig: Rig) -> None:
    class Exhausted(Exception):
        pass

    class Empty:
        async def spend(self) -> None:
            raise Exhausted

    with pytest.raises(Exhausted):
        await rig.connector.push([rig.push(1)], guard=allowed, budget=Empty())
    assert await rig.calls() == []


@pytest.mark.parametrize("other", [{"tenant": "globex"}, {"channel": "fax"}])
async def test_a_push_of_another_tenant_or_channel_is_never_sent(rig: Rig, other: dict[str, str]) -> None:  # R43
    pushes = [rig.push(1), replace(rig.push(2), **other)]
    size = CATALOGUE[rig.case.name].capabilities.max_batch[SUPPRESS]
    with pytest.raises(TenantMismatchError, match="under-test") as raised:
        await rig.connector.push(pushes[-size:], guard=allowed, budget=CountedBudget())
    assert await rig.calls() == []
    assert_nothing_clear(rig, raised.value)


async def test_nothing_is_logged_with_an_address(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:  # R13
    caplog.set_level(logging.DEBUG)
    await rig.send(rig.push(1), rig.push(2))
    await rig.misbehave("cut")
    with pytest.raises(CallFailedError):
        await rig.send(rig.push(1, action=PERMIT))
    ours = [record for record in caplog.records if record.name != "aiohttp.access"]
    assert_nothing_clear(rig, *[record.getMessage() for record in ours])
    assert_nothing_clear(rig, rig.push(1), rig.connector)
