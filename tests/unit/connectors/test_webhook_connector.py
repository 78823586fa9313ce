from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from consent_http.ssrf import PublicOnlyResolver, is_public, url_error
from consent_http.webhook_signature import parse_secret, signed_headers
from propagator.connectors import CATALOGUE
from propagator.connectors.base import Accepted, Push, Retryable
from propagator.connectors.http import HttpClient, HttpResponse
from propagator.errors import MisconfiguredError
from tests.support.call_budget import CountedBudget
from tests.support.tables import each_of

KNOWN = "whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC0wMDAwMDE="
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
PRIVATE = {"allow_private": True}


def connect(sandbox: Any, *, credentials: dict[str, str] | None = None, **overrides: Any) -> Any:
    given: dict[str, Any] = {"options": PRIVATE, "path": "/webhook"}
    return sandbox.connect("webhook", credentials=credentials or {"secret": KNOWN}, **(given | overrides))


def allowed() -> bool:
    return True


def test_the_signature_is_that_of_the_published_example() -> None:
    """The example of the specification's own verification guide."""
    headers = signed_headers(
        [parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["whsec_", "whsec_####", "whsec_c2hvcnQ="])
def test_a_secret_that_is_none_is_refused_without_showing_it(open_sandbox: Any, secret: str) -> None:
    with pytest.raises(ValueError, match="secret") as raised:
        parse_secret(secret)
    assert secret not in str(raised.value) or secret == "whsec_"


async def test_while_a_secret_rotates_either_side_may_be_first(open_sandbox: Any, push: Callable[..., Push]) -> None:
    sandbox = await open_sandbox()
    rotating = connect(sandbox, credentials={"secret": NEW, "previous_secret": KNOWN})
    (outcome,) = await rotating.push([push(1)], guard=allowed, budget=CountedBudget())
    assert isinstance(outcome, Accepted)
    with pytest.raises(MisconfiguredError):
        await connect(sandbox, credentials={"secret": NEW}).push([push(2)], guard=allowed, budget=CountedBudget())


async def test_the_check_is_signed_by_both_secrets_and_sends_no_message(open_sandbox: Any) -> None:
    sandbox = await open_sandbox()
    options = PRIVATE | {"check_url": f"{sandbox.url}/webhook/crm"}
    rotating = connect(sandbox, credentials={"secret": NEW, "previous_secret": KNOWN}, options=options)
    budget = CountedBudget()
    for _ in range(2):
        await rotating.verify(budget=budget)
    calls = await sandbox.calls("webhook/crm")
    assert [(call["method"], call["status"]) for call in calls] == [("GET", 204)] * 2
    assert budget.spent == 2
    assert len({call["message_id"] for call in calls}) == 2, "a receiver may drop ids that it knows"
    assert await sandbox.states("webhook/crm") == {}


async def test_without_a_check_url_nothing_is_asked(open_sandbox: Any) -> None:
    sandbox = await open_sandbox()
    budget = CountedBudget()
    await connect(sandbox).verify(budget=budget)
    assert budget.spent == 0
    assert await sandbox.calls("webhook") == []


async def test_a_retry_is_the_same_message_at_a_new_time(
    open_sandbox: Any, push: Callable[..., Push], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    clock = iter([1_760_000_001, 1_760_000_061])

    async def call(self: HttpClient, method: str, url: str, **request: Any) -> HttpResponse:
        sent.append(request)
        return HttpResponse(status=500 if len(sent) == 1 else 204, headers={}, body=b"")

    monkeypatch.setattr(HttpClient, "call", call)
    monkeypatch.setattr("propagator.connectors.webhook.time", SimpleNamespace(time=lambda: next(clock)))
    connector = connect(await open_sandbox())
    with pytest.raises(Exception, match="http_500"):
        await connector.push([push(1)], guard=allowed, budget=CountedBudget())
    assert await connector.push([push(1)], guard=allowed, budget=CountedBudget()) == [
        Accepted(reference=push(1).push_id)
    ]
    first, second = sent
    assert first["body"] == second["body"]
    assert first["headers"]["webhook-id"] == second["headers"]["webhook-id"] == push(1).push_id
    assert first["headers"]["webhook-timestamp"] != second["headers"]["webhook-timestamp"]
    assert json.loads(first["body"]) == {
        "type": "suppression.updated",
        "timestamp": "2025-10-09T08:53:20.500000Z",
        "data": {
            "tenant": "acme",
            "channel": "sms",
            "address_key": "k1.1",
            "target": "target",
            "purposes": {
                "newsletter": {
                    "permitted": False,
                    "reason": "withdrawn",
                    "since": "2025-10-09T08:53:20.123456Z",
                    "expires_at": None,
                }
            },
            "decision_ids": ["d1"],
            "version": 1,
        },
    }


async def test_the_address_itself_is_sent_only_where_the_destination_says_so(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox()
    await connect(sandbox).push([push(1)], guard=allowed, budget=CountedBudget())
    await connect(sandbox, options=PRIVATE | {"clear_addresses": True}).push(
        [push(2)], guard=allowed, budget=CountedBudget()
    )
    assert set(await sandbox.states("webhook")) == {push(1).address_key, push(2).address}


async def test_an_unknown_refusal_is_tried_again_and_never_dropped(
    open_sandbox: Any, push: Callable[..., Push]
) -> None:
    sandbox = await open_sandbox()
    fault = {"account": "webhook", "kind": "status", "status": 422}
    await sandbox.order("POST", "/_control/faults", fault)
    assert await connect(sandbox).push([push(1)], guard=allowed, budget=CountedBudget()) == [
        Retryable(reason="http_422")
    ]


@each_of(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:5db8:d822::", False),
        ("::127.0.0.1", False),
        ("::93.184.216.34", False),
        ("::ffff:0:7f00:1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::5db8:d822", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::7f00:1", False),
        ("64:ff9b:1::5db8:d822", False),
        ("2001:0:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),
        ("2606:2800:220:1:0:5efe:7f00:1", False),
        ("2606:2800:220:1:200:5efe:7f00:1", False),
        ("fec0::1", False),
        ("feff::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("ff0e::1", False),
        ("::", False),
        ("100::1", False),
        ("5f00::1", False),
        ("4000::1", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("2001:10::1", False),
        ("2001:2::1", False),
        ("192.0.0.170", False),
        ("192.88.99.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("224.0.0.251", False),
        ("2a00:1450:4007:80e::200e", True),
    ],
)
def test_private_addresses_are_known_in_every_disguise(address: str, public: bool) -> None:  # R27
    assert is_public(address) is public


@each_of(
    "url",
    [
        "ftp://example.com/x",
        "https://",
        "http://example.com/x",
        "https://user:secret@example.com/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://example.com:99999/x",
        "https://example.com/x#y",
        "https://[::127.0.0.1]/x",
        "https://[64:ff9b:1::7f00:1]/x",
        "https://[64:ff9b::7f00:1]/x",
        "https://[fec0::1]/x",
        "https://[2002:7f00:1::]/x",
        "https://[fe80::1%25eth0]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://\uff11\uff12\uff17.0.0.1/x",
        "https://127\u30020.0.1/x",
        "https://example.com\\@127.0.0.1/x",
        "https://exam ple.com/x",
        "https://2130706433/x",
        "https://127.1/x",
        "https://0177.0.0.1/x",
        "https://0x7f000001/x",
        "https://127.0.0.0x1/x",
        "https://127.0.0.1./x",
        "https://0/x",
    ],
)
def test_a_target_that_may_not_be_called_is_refused_with_the_fix(url: str) -> None:
    wrong = url_error(url, allow_private=False)
    assert wrong is not None
    assert "secret" not in wrong
    with pytest.raises(MisconfiguredError):
        CATALOGUE["webhook"].build(_connection(url))
    with pytest.raises(MisconfiguredError, match="`check_url`"):
        CATALOGUE["webhook"].build(_connection("https://example.com/x", check_url=url))


def _connection(url: str, *, check_url: str = "") -> Any:
    from propagator.connectors.base import ConnectionSettings

    return ConnectionSettings(
        destination="x",
        tenant="acme",
        channel="email",
        url=url,
        credentials={"secret": KNOWN},
        options={"allow_private": False, "clear_addresses": False, "check_url": check_url},
        targets=(),
    )


@pytest.mark.parametrize("addresses", [["10.1.2.3"], ["93.184.216.34", "127.0.0.1"], []])
async def test_a_name_is_refused_when_any_of_its_addresses_is_private(addresses: Sequence[str]) -> None:
    async def lookup(host: str, port: int) -> Sequence[str]:
        return addresses

    http = HttpClient(timeout_seconds=5, connections=1, resolver=PublicOnlyResolver(lookup))
    with pytest.raises(MisconfiguredError, match="private_target"):
        await http.call("POST", "https://rebinding.example.com/", budget=CountedBudget(), headers={}, body=b"{}")
    await http.close()


async def test_the_address_that_was_checked_is_the_one_that_is_called(
    open_sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a name that answers differently the second time gains nothing: it is asked once."""
    sandbox = await open_sandbox()
    asked: list[str] = []

    async def lookup(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr("consent_http.ssrf.is_public", lambda address: True)
    http = HttpClient(timeout_seconds=5, connections=1, resolver=PublicOnlyResolver(lookup))
    port = sandbox.url.rpartition(":")[2]
    response = await http.call(
        "GET", f"http://only-ours-knows.example.com:{port}/healthz", budget=CountedBudget(), headers={}
    )
    assert (response.status, asked) == (200, ["only-ours-knows.example.com"])
    await http.close()
