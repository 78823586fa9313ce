from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest

from propagator.connectors import twilio
from propagator.connectors.base import (
    PERMIT,
    SUPPRESS,
    Accepted,
    ConnectionSettings,
    Outcome,
    Push,
    Refused,
    Retryable,
)
from propagator.connectors.http import HttpClient, HttpResponse
from propagator.connectors.twilio import TYPE, Twilio
from propagator.errors import DestinationDownError, MisconfiguredError, UnknownTargetsError
from provider_sandbox.config import SandboxConfig, TwilioAccount
from tests.support.call_budget import CountedBudget

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


async def test_a_split_pays_for_each_of_its_calls_and_ends_when_two_are_refused_alike(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox()
    connector, pushes = connect(sandbox), [push(n, target=SENDER) for n in range(25)]
    refusal = {"account": "twilio", "kind": "status", "status": 400, "times": 0}
    await sandbox.order("POST", "/_control/faults", refusal)
    budget = CountedBudget()
    outcomes = await connector.push(pushes, guard=allowed, budget=budget)
    assert set(outcomes) == {Retryable(reason="http_400", refused=True)}
    assert budget.spent == len(await sandbox.calls("twilio")) < 12


class Answers:
    """Gives these answers instead of Twilio, and keeps the items of each request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float] = time.time) -> None:
        self.next: list[tuple[int, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.items: list[list[dict[str, Any]]] = []
        connection = ConnectionSettings(
            destination="t",
            tenant="acme",
            channel="sms",
            url=None,
            credentials=CREDENTIALS,
            options={"source": "website"},
            targets=(),
        )
        self.connector = Twilio(connection, clock=clock)

        async def call(_client: HttpClient, method: str, url: str, **request: Any) -> HttpResponse:
            self.requests.append(request | {"method": method, "url": url})
            self.items.append([json.loads(item) for item in parse_qs(request["body"].decode())["Items"]])
            status, body = self.next.pop(0)
            return HttpResponse(status=status, headers={}, body=body if isinstance(body, bytes) else dumps(body))

        monkeypatch.setattr(HttpClient, "call", call)

    async def push(self, *pushes: Push) -> Sequence[Outcome]:
        return await self.connector.push(pushes, guard=allowed, budget=CountedBudget())


def dumps(body: Any) -> bytes:
    return json.dumps(body).encode()


def item(push: Push, code: Any = 0, *messages: Any, **others: Any) -> dict[str, Any]:
    return {"correlation_id": push.push_id, "error_code": code, "error_messages": list(messages)} | others


def taken(*items: Any) -> tuple[int, Any]:
    return 201, {"items": list(items)}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


async def test_the_request_is_as_documented(answers: Answers, push: Callable[..., Push]) -> None:
    answers.next = [taken()]
    (outcome,) = await answers.push(push(1, target=SENDER))
    assert outcome == Retryable(reason="unanswered")
    (sent,) = answers.requests
    assert (sent["method"], sent["url"]) == ("POST", "https://accounts.twilio.com/v1/Consents/Bulk")
    assert answers.items[0] == [
        {
            "contact_id": "+33639980001",
            "correlation_id": push(1).push_id,
            "sender_id": SENDER,
            "status": "opt-out",
            "source": "website",
            "date_of_consent": "2025-10-09T08:53:20Z",
        }
    ]


@pytest.mark.parametrize("status", [200, 202, 203, 204, 207])
async def test_only_201_acknowledges(answers: Answers, push: Callable[..., Push], status: int) -> None:
    one = push(1, target=SENDER)
    answers.next = [(status, {"items": [item(one)]})]
    with pytest.raises(DestinationDownError, match=f"{status} where 201 was due"):
        await answers.push(one)


@pytest.mark.parametrize("status", [402, 404, 409, 411, 418, 422, 451])
async def test_another_refusal_of_the_call_requires_a_person_and_hints_at_the_cause(
    answers: Answers, push: Callable[..., Push], status: int
) -> None:
    one = push(1, target=SENDER)
    problem = {"code": 20404, "message": "Not here: +33639980001", "status": status, "items": [item(one)]}
    answers.next = [(status, problem)]
    with pytest.raises(MisconfiguredError, match=r"check `url`.*20404 Not here") as raised:
        await answers.push(one)
    assert "639980001" not in str(raised.value)


@pytest.mark.parametrize("code", ["INVALID_SOURCE", "INVALID_STATUS"])
@pytest.mark.parametrize("others", [(), ("accepted before",)])
async def test_what_all_items_share_is_a_fault_of_the_configuration(
    answers: Answers, push: Callable[..., Push], code: str, others: tuple[str, ...]
) -> None:
    pushes = [push(n, target=SENDER) for n in (1, 2, 3)]
    last = item(pushes[2], 21610, "unsubscribed") if others else item(pushes[2], 30646, "INVALID_CONTACT_ID", code)
    answers.next = [taken(item(pushes[0], 30646, code), item(pushes[1], 30646, code), last)]
    with pytest.raises(MisconfiguredError, match=code):
        await answers.push(*pushes)


async def test_one_item_alone_holds_up_no_others_and_keeps_twilios_words(
    answers: Answers, push: Callable[..., Push]
) -> None:
    pushes = [push(n, target=SENDER) for n in (1, 2, 3)]
    answers.next = [
        taken(item(pushes[0]), item(pushes[1], 30646, "INVALID_SOURCE"), item(pushes[2], 30646, "INVALID_SENDER_ID"))
    ]
    assert await answers.push(*pushes) == [
        Accepted(reference=pushes[0].push_id),
        Retryable(reason="item_30646 INVALID_SOURCE", refused=True),
        Retryable(reason="item_30646 INVALID_SENDER_ID", refused=True),
    ]


async def test_what_twilio_says_is_kept_without_addresses_and_bounded(
    answers: Answers, push: Callable[..., Push]
) -> None:
    pushes = [push(n, target=SENDER) for n in (1, 2)]
    words = ["NOT_NOW", "for +33639980001 and ann@example.com", "\u0000\n\u00e9", None, 7, "x" * 5_000]
    answers.next = [taken(item(pushes[0]), item(pushes[1], 77, *words))]
    reason = (await answers.push(*pushes))[1].reason  # type: ignore[union-attr]
    assert reason.startswith("item_77 NOT_NOW for [redacted] and [redacted] x")
    assert len(reason) <= 100


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        [],
        {},
        {"correlation_id": None},
        {"correlation_id": ["x"], "error_code": 0, "error_messages": []},
    ],
)
async def test_an_item_that_cannot_be_read_spoils_no_other(
    answers: Answers, push: Callable[..., Push], odd: Any
) -> None:
    pushes = [push(n, target=SENDER) for n in (1, 2)]
    answers.next = [taken(odd, item(pushes[1]))]
    assert await answers.push(*pushes) == [Retryable(reason="unanswered"), Accepted(reference=pushes[1].push_id)]


@pytest.mark.parametrize(
    "members",
    [
        {"error_code": None},
        {"error_code": "0"},
        {"error_code": False},
        {"error_code": 0.5},
        {"error_code": -1},
        {"error_code": 10**30},
        {"error_code": 30646, "error_messages": None},
        {"error_messages": ["INVALID_DATE_OF_CONSENT"]},
        {"error_messages": "INVALID_STATUS"},
        {"error_code": None, "error_messages": ["INVALID_CONTACT_ID"]},
        {"error_code": 30646, "error_messages": ["INVALID_CONTACT_ID", "INVALID_SENDER_ID"]},
        {"error_code": 30646, "error_messages": ["INVALID_CORRELATION_ID"]},
    ],
)
async def test_an_item_that_is_in_doubt_is_neither_accepted_nor_ended(
    answers: Answers, push: Callable[..., Push], members: dict[str, Any]
) -> None:
    pushes = [push(n, target=SENDER) for n in (1, 2)]
    answers.next = [taken(item(pushes[0], **members), item(pushes[1]))]
    first, second = await answers.push(*pushes)
    assert isinstance(first, Retryable)
    assert isinstance(second, Accepted)


@pytest.mark.parametrize(
    ("code", "message", "refused"),
    [
        (99999, "SOMETHING_NEW", True),
        (30646, "SOMETHING_NEW", True),
        (30646, "INTERNAL_SERVER_ERROR", False),
        (30646, "INVALID_DATE_OF_CONSENT", False),
        (None, "SOMETHING_NEW", False),
    ],
)
async def test_what_meets_every_item_may_be_a_refusal_of_all(
    answers: Answers, push: Callable[..., Push], code: int | None, message: str, refused: bool
) -> None:
    pushes = [push(n, target=SENDER) for n in (1, 2)]
    answers.next = [taken(*[item(each, code, message) for each in pushes]), taken(item(pushes[0], code, message))]
    assert await answers.push(*pushes) == [Retryable(reason=f"item_{code} {message}", refused=refused)] * 2
    (alone,) = await answers.push(pushes[0])
    assert alone == Retryable(reason=f"item_{code} {message}")


async def test_one_unknown_sender_holds_up_no_other(answers: Answers, push: Callable[..., Push]) -> None:
    pushes = [push(1, target=SENDER), push(2, target=OTHER)]
    answers.next = [taken(item(pushes[0], 30646, "INVALID_SENDER_ID"), item(pushes[1], 30646, "INTERNAL_SERVER_ERROR"))]
    assert await answers.push(*pushes) == [
        Retryable(reason="item_30646 INVALID_SENDER_ID", unknown_target=True),
        Retryable(reason="item_30646 INTERNAL_SERVER_ERROR"),
    ]


async def test_messages_may_be_null(answers: Answers, push: Callable[..., Push]) -> None:
    one = push(1, target=SENDER)
    answers.next = [taken(item(one, 0, error_messages=None, note=None))]
    assert await answers.push(one) == [Accepted(reference=one.push_id)]


async def test_an_id_that_is_answered_twice_is_in_doubt(answers: Answers, push: Callable[..., Push]) -> None:
    pushes = [push(n, target=SENDER) for n in (1, 2)]
    answers.next = [taken(item(pushes[0]), item(pushes[0], 30646, "INVALID_CONTACT_ID"), item(pushes[1]))]
    assert [type(each) for each in await answers.push(*pushes)] == [Retryable, Accepted]


async def test_the_date_is_never_ahead_of_twilios_clock(
    monkeypatch: pytest.MonkeyPatch, push: Callable[..., Push]
) -> None:
    now = 1_760_000_100
    answers = Answers(monkeypatch, clock=lambda: now + 0.9)
    moments = [now - 60, now - 5, now - 1, now, now + 3_600, 253_402_300_800, 10**15, 0, -1, -(10**15)]
    for moment in moments:
        answers.next = [taken()]
        await answers.push(push(1, target=SENDER, occurred_at=moment * 1_000_000))
    dates = [items[0]["date_of_consent"] for items in answers.items]
    assert dates == ["2025-10-09T08:54:00Z"] + ["2025-10-09T08:54:55Z"] * 6 + ["1970-01-01T00:00:00Z"] * 3


async def test_an_opt_out_whose_date_is_refused_goes_without_one(answers: Answers, push: Callable[..., Push]) -> None:
    one = push(1, target=SENDER)
    answers.next = [taken(item(one, 30646, "INVALID_DATE_OF_CONSENT")), taken(item(one)), taken(item(one))]
    assert await answers.push(one) == [Retryable(reason="item_30646 INVALID_DATE_OF_CONSENT")]
    again = replace(one, push_id="f" * 32)  # As after its row has changed.
    answers.next[0] = taken(item(again))
    assert await answers.push(again) == [Accepted(reference=again.push_id)]
    await answers.push(one)
    assert ["date_of_consent" in items[0] for items in answers.items] == [True, False, True]


async def test_an_opt_in_whose_date_is_refused_is_never_sent_without_one(
    answers: Answers, push: Callable[..., Push]
) -> None:
    """Twilio would take it for newer than a STOP that came after it."""
    one = push(1, target=SENDER, action=PERMIT)
    answers.next = [taken(item(one, 30646, "INVALID_DATE_OF_CONSENT"))] * 2
    for _ in range(2):
        assert isinstance((await answers.push(one))[0], Retryable)
    assert all("date_of_consent" in items[0] for items in answers.items)


async def test_no_more_than_so_many_refused_dates_are_remembered(
    answers: Answers, push: Callable[..., Push], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twilio, "MAX_UNDATED", 2)
    pushes = [push(n, target=SENDER) for n in (1, 2, 3)]
    answers.next = [taken(*[item(each, 30646, "INVALID_DATE_OF_CONSENT") for each in pushes]), taken()]
    await answers.push(*pushes)
    await answers.push(*pushes)
    assert ["date_of_consent" in each for each in answers.items[1]] == [True, False, False]


API_KEY = {"account_sid": "SK00000000000000000000000000000000", "auth_token": "sandbox-twilio-secret"}
NUMBER = "+33939980001"


async def looked_up(sandbox: Any) -> list[str]:
    return [call["path"].removeprefix("/twilio") for call in await sandbox.calls("twilio")]


@pytest.mark.parametrize(
    ("credentials", "targets", "paths"),
    [
        (
            CREDENTIALS,
            (SENDER, NUMBER),
            [f"/2010-04-01/Accounts/{CREDENTIALS['account_sid']}.json", f"/v1/Services/{SENDER}"],
        ),
        (CREDENTIALS, (NUMBER,), [f"/2010-04-01/Accounts/{CREDENTIALS['account_sid']}.json"]),
        (API_KEY, (SENDER, OTHER), [f"/v1/Services/{SENDER}", f"/v1/Services/{OTHER}"]),
        (API_KEY, (NUMBER,), ["/v1/Services"]),
    ],
)
async def test_the_account_or_the_key_and_the_services_are_looked_up(
    open_sandbox: Any, credentials: dict[str, str], targets: tuple[str, ...], paths: list[str]
) -> None:
    sandbox = await open_sandbox()
    connector = sandbox.connect("twilio", credentials=credentials, path="/twilio", targets=targets)
    budget = CountedBudget()
    assert await connector.verify(budget=budget) is None
    assert await looked_up(sandbox) == paths
    assert budget.spent == len(paths)
    assert await sandbox.states("twilio") == {}


@pytest.mark.parametrize("targets", [(SENDER,), (NUMBER,)])
@pytest.mark.parametrize("credentials", [CREDENTIALS, API_KEY, {"account_sid": "ACME/../..", "auth_token": "no"}])
async def test_credentials_that_twilio_does_not_know_are_named(
    open_sandbox: Any, credentials: dict[str, str], targets: tuple[str, ...]
) -> None:
    sandbox = await open_sandbox()
    wrong = credentials | {"auth_token": "not-its-secret"}
    connector = sandbox.connect("twilio", credentials=wrong, path="/twilio", targets=targets)
    with pytest.raises(MisconfiguredError, match=r"^credentials: 401 20003 Authenticate: check account_sid") as raised:
        await connector.verify(budget=CountedBudget())
    assert "not-its-secret" not in str(raised.value)


async def test_a_messaging_service_that_does_not_exist_is_named_and_no_other(open_sandbox: Any) -> None:
    sandbox = await open_sandbox(SandboxConfig(twilio=TwilioAccount(senders=(SENDER,))))
    with pytest.raises(UnknownTargetsError) as raised:
        await connect(sandbox, targets=(SENDER, OTHER, NUMBER)).verify(budget=CountedBudget())
    assert set(raised.value.targets) == {OTHER}
    assert raised.value.targets[OTHER].endswith("correct `purposes`")


@pytest.mark.parametrize("targets", [(SENDER,), (NUMBER,)])
async def test_a_key_that_may_not_read_services_may_send_all_the_same(
    open_sandbox: Any, targets: tuple[str, ...], push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox(SandboxConfig(twilio=TwilioAccount(api_key_reads_services=False)))
    connector = sandbox.connect("twilio", credentials=API_KEY, path="/twilio", targets=targets)
    found = await connector.verify(budget=CountedBudget())
    assert found is not None
    assert found.doubt == (
        "Messaging Services not looked up: 403 70051 Authorization Failed:"
        " give the credentials the permission to read it"
    )
    (outcome,) = await connector.push([push(1, target=targets[0])], guard=allowed, budget=CountedBudget())
    assert isinstance(outcome, Accepted)


async def test_each_look_up_has_the_host_that_twilio_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def call(_client: HttpClient, method: str, url: str, **_request: Any) -> HttpResponse:
        asked.append((method, url))
        return HttpResponse(status=200, headers={}, body=dumps({"sid": None, "services": []}))

    monkeypatch.setattr(HttpClient, "call", call)
    connection = ConnectionSettings(
        destination="t",
        tenant="acme",
        channel="sms",
        url=None,
        credentials=CREDENTIALS,
        options={"source": "website"},
        targets=(SENDER,),
    )
    await Twilio(connection).verify(budget=CountedBudget())
    assert asked == [
        ("GET", "https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000000.json"),
        ("GET", f"https://messaging.twilio.com/v1/Services/{SENDER}"),
    ]


@pytest.mark.parametrize(
    ("target", "known"),
    [
        ("38200", True),
        ("382001", True),
        ("+33939980001", True),
        (SENDER, True),
        ("3820", False),
        ("3820012", False),
        ("\u0663\u0663\u0663\u0663\u0663", False),
        ("+0939980001", False),
        ("ACME", False),
    ],
)
def test_a_sender_is_a_service_a_number_or_a_short_code(target: str, known: bool) -> None:
    assert (TYPE.target_error(target) is None) is known
