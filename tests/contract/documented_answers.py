"""What providers document (tests/contract/providers), a server that answers so, and what becomes of the pushes."""

from __future__ import annotations

import email.utils
import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from propagator.connectors import CATALOGUE
from propagator.connectors.base import (
    PERMIT,
    SUPPRESS,
    Accepted,
    Action,
    ConnectionSettings,
    Connector,
    Outcome,
    Push,
    Refused,
    Retryable,
)
from propagator.errors import DestinationDownError, MisconfiguredError, ThrottledError
from propagator.sending.refusals import Answered, Refusals, Ruling, TargetAction
from tests.support.call_budget import CountedBudget

FILES = Path(__file__).parent / "providers"
SEVERAL = 3
ACTIONS: tuple[Action, ...] = (SUPPRESS, PERMIT)
CLASSES = ("accepted", "retried", "held", "ended")

Classes = tuple[str, ...]
"""What becomes of each push of a call."""


class Result(NamedTuple):
    classes: Classes
    said: str
    """What is reported to a person."""
    after_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One file of the fixtures."""

    name: str
    facts: dict[str, Any]

    @property
    def action_sizes(self) -> list[tuple[Action, int]]:
        """The calls that are tried: of one push, and of several where the connector makes such calls."""
        most = CATALOGUE[self.facts["connector"]].capabilities.max_batch
        return [(action, size) for action in ACTIONS for size in (1, SEVERAL) if size <= most[action]]

    def answers(self) -> list[dict[str, Any]]:
        """Its own documented ones, then those without documentation."""
        overrides = self.facts.get("overrides", {})
        undocumented = json.loads((FILES / "any.json").read_text("utf-8"))["answers"]
        assert overrides.keys() <= {each["name"] for each in undocumented}, self.name
        given = [each | {"source": "assumed"} for each in undocumented]
        return self.facts["answers"] + [
            each | {"expected": overrides.get(each["name"], each["expected"])} for each in given
        ]

    def pushes(self, action: Action, size: int) -> list[Push]:
        return [self._push(action, number) for number in range(size)]

    def connector(self, url: str) -> Connector:
        facts = self.facts
        connector_type = CATALOGUE[facts["connector"]]
        options = {name: option.default for name, option in connector_type.options.items()}
        return connector_type.build(
            ConnectionSettings(
                destination="under-test",
                tenant="acme",
                channel=facts["channel"],
                url=url,
                credentials=facts["credentials"],
                options=options | expanded(facts.get("options", {}), {"url": url}),
                targets=(facts["target"],),
                timeout_seconds=10.0,
            )
        )

    def _push(self, action: Action, number: int) -> Push:
        channel = self.facts["channel"]
        return Push(
            push_id=hashlib.sha256(f"{action} {number}".encode()).hexdigest()[:32],
            tenant="acme",
            channel=channel,
            address_key=f"k1.{number}",
            address=f"person{number}@example.com" if channel == "email" else f"+3363998000{number}",
            action=action,
            target=self.facts["target"],
            purposes=("newsletter",),
            reason="withdrawn",
            decision_ids=("019aa000-0000-7000-8000-000000000001",),
            version=1_760_000_000_000_000,
            occurred_at=1_760_000_000_123_456,
            recorded_at=1_760_000_000_500_000,
        )


def providers() -> list[Provider]:
    files = [each for each in sorted(FILES.glob("*.json")) if each.stem != "any"]
    return [Provider(name=each.stem, facts=json.loads(each.read_text("utf-8"))) for each in files]


def wanted(answer: dict[str, Any], action: Action, size: int) -> Classes:
    """`expected` for a call of so many pushes."""
    expected = answer["expected"]
    expected = expected.get("permit", expected) if action == PERMIT else expected
    given = expected["one" if size == 1 else "several"]
    if isinstance(given, str):
        return (given,) * size
    return (given["named"], *[given["others"]] * (size - 1))


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request of the connector."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def holds(self, push: Push) -> bool:
        return any(
            each in text
            for each in (push.address, push.push_id)
            for text in (
                unquote(self.path),
                self.body.decode(),
                self.headers.get("webhook-id", ""),
                *(value for _, value in parse_qsl(self.body.decode())),
            )
        )


@dataclass
class Server:
    """Answers as the provider does: look-ups, the answer under test, and success for all else."""

    provider: Provider
    pushes: Sequence[Push] = ()
    answer: dict[str, Any] | None = None
    url: str = ""
    received: list[Received] = field(default_factory=list)
    """Without look-ups."""
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Server:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        received = Received(
            method=request.method,
            path=request.raw_path,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
        )
        answer = self.answer or {}
        for number, lookup in enumerate(self.provider.facts.get("lookups", []), start=1):
            if (lookup["method"], lookup["path"] in received.path) == (received.method, True):
                return self._respond(answer if number == int(answer.get("lookup", 0)) else lookup, [])
        self.received.append(received)
        held = [push for push in self.pushes if received.holds(push)]
        action = self.pushes[0].action if self.pushes else SUPPRESS
        success = self.provider.facts["success"][action]
        named = [push for push in held if answer.get("for_items") != "first" or push is self.pushes[0]]
        if not answer or answer.get("lookup") or not named:
            return self._respond(success, held)
        if "item" in answer:
            return self._respond(success | {"status": answer["status"]}, held, named=named, item=answer["item"])
        return self._respond(answer, held)

    def _respond(
        self,
        answer: dict[str, Any],
        held: Sequence[Push],
        *,
        named: Sequence[Push] = (),
        item: dict[str, Any] | None = None,
    ) -> web.Response:
        values = {
            "url": self.url,
            "target": self.provider.facts["target"],
            "in_90_seconds": email.utils.formatdate(time.time() + 90, usegmt=True),
        }
        body = expanded(answer.get("body", ""), values, held, named=named, item=item or {})
        headers = expanded(answer.get("headers", {}), values)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=answer["status"], body=text.encode(), headers=headers)


def expanded(
    template: Any,
    values: dict[str, Any],
    pushes: Sequence[Push] = (),
    *,
    named: Sequence[Push] = (),
    item: dict[str, Any] | None = None,
) -> Any:
    """The template with its `$` placeholders filled in; see providers/README.md."""
    if isinstance(template, str):
        if template == "$addresses":
            return [push.address for push in pushes]
        for name, value in values.items():
            template = template.replace(f"${name}", value)
        return template
    if isinstance(template, list):
        if template[:1] == ["$each"]:
            made = []
            for push in pushes:
                given = values | {"address": push.address, "correlation_id": push.push_id}
                one = expanded(template[1], given, pushes)
                made.append(one | expanded(item, given) if item and push in named else one)
            return made
        return [expanded(each, values, pushes, named=named, item=item) for each in template]
    if isinstance(template, dict):
        return {name: expanded(each, values, pushes, named=named, item=item) for name, each in template.items()}
    return template


async def call(provider: Provider, server: Server, pushes: Sequence[Push], answer: dict[str, Any] | None) -> Result:
    """One call of the real connector, and what the dispatcher makes of what comes back."""
    server.pushes, server.answer = pushes, answer
    connector = provider.connector(server.url)
    try:
        outcomes = await connector.push(pushes, guard=lambda: True, budget=CountedBudget())
    except (ThrottledError, DestinationDownError) as error:
        wish = error.retry_after if isinstance(error, ThrottledError) else None
        return Result(("retried",) * len(pushes), str(error), wish)
    except MisconfiguredError as error:
        return Result(("held",) * len(pushes), str(error), None)
    finally:
        await connector.close()
    return Result(_classes(pushes, outcomes), "", None)


async def start(provider: Provider, server: Server, answer: dict[str, Any]) -> Result:
    """The check of the account that precedes every call."""
    server.answer = answer
    connector = provider.connector(server.url)
    try:
        found = await connector.verify(budget=CountedBudget())
    except (ThrottledError, DestinationDownError) as error:
        return Result(("retried",), str(error), None)
    except MisconfiguredError as error:
        return Result(("held",), str(error), None)
    finally:
        await connector.close()
    return Result(("accepted",), (found and found.doubt) or "", None)


def _classes(pushes: Sequence[Push], outcomes: Sequence[Outcome]) -> Classes:
    answered = [
        Answered(key=TargetAction(push.target, push.action), outcome=outcome)
        for push, outcome in zip(pushes, outcomes, strict=True)
    ]
    rulings = Refusals().judge(answered)

    def class_of(each: Answered) -> str:
        match each.outcome:
            case Accepted():
                return "accepted"
            case Refused() | Retryable(refused=True) if rulings[each.key] is not Ruling.ABOUT_ADDRESSES:
                return "held"
            case Refused():
                return "ended"
            case Retryable(unknown_target=True):
                return "held"
            case _:
                return "retried"

    return tuple(map(class_of, answered))


def form_of(body: bytes) -> dict[str, list[Any]]:
    """A form as it is compared: values that are JSON as such."""
    form: dict[str, list[Any]] = {}
    for name, value in parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True):
        read: Any = value
        with suppress(ValueError):
            read = json.loads(value)
        form.setdefault(name, []).append(read)
    return form
