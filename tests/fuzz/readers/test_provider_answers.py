"""Whatever a provider answers is an outcome for each push, or a failure of the call: never an error of ours."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
)
from propagator.connectors.responses import MAX_RETRY_AFTER_SECONDS, retry_after
from propagator.errors import CallFailedError, ThrottledError
from tests.fuzz.budget import fuzzed
from tests.fuzz.hostile import mutated, raw, texts, values
from tests.fuzz.outcome import value_or
from tests.support.call_budget import CountedBudget

MAX_KEPT = 200
"""Characters of a reference, code or detail in a receipt."""


class Tool(NamedTuple):
    """One connector, and what its provider answers where all is well, in the order of the calls."""

    name: str
    channel: str
    credentials: dict[str, str]
    target: str
    answers: tuple[tuple[int, bytes], ...]
    error: bytes = b"{}"
    """What it answers with 400."""

    def address(self, number: int) -> str:
        return f"person{number}@example.com" if self.channel == "email" else f"+3363998{number:04d}"


PUSH_IDS = ("0" * 32, "1" * 32)
TOOLS = {
    "twilio": Tool(
        "twilio",
        "sms",
        {"account_sid": "AC" + "0" * 32, "auth_token": "token"},
        "MG" + "1" * 32,
        (
            (
                201,
                json.dumps(
                    {"items": [{"correlation_id": PUSH_IDS[0], "error_code": 0, "error_messages": []}]}
                ).encode(),
            ),
        ),
    ),
    "sendgrid": Tool(
        "sendgrid",
        "email",
        {"api_key": "SG.key"},
        "101",
        ((200, b'{"id": 101}'), (201, b'{"recipient_emails": ["person0@example.com"]}')),
        b'{"errors": [{"field": "recipient_emails", "message": "x", "help": "y"}]}',
    ),
    "genesys": Tool(
        "genesys",
        "voice",
        {"client_id": "client", "client_secret": "secret"},
        "00000000-0000-4000-8000-000000000001",
        ((200, b'{"access_token": "token", "expires_in": 3600}'), (204, b"")),
        b'{"code": "invalid.phone"}',
    ),
    "webhook": Tool("webhook", "email", {"secret": "whsec_" + "A" * 32}, "newsletter", ((200, b""),)),
}


class Provider:
    """Answers each request on a connection of its own with the bytes that the example has set."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.url = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            await reader.readexactly(length)
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class Rig:
    """A provider and a loop in which connectors call it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self.provider = Provider()
        self._runner.run(self.provider.start())

    def close(self) -> None:
        self._runner.run(self.provider.stop())
        self._runner.close()

    def push(self, tool: Tool, action: Action, answers: Sequence[bytes]) -> Sequence[Outcome] | CallFailedError:
        async def call(connector: Connector) -> Sequence[Outcome]:
            size = min(CATALOGUE[tool.name].capabilities.max_batch[action], len(PUSH_IDS))
            pushes = [_push(tool, action, number) for number in range(size)]
            return await connector.push(pushes, guard=lambda: True, budget=CountedBudget())

        return self._call(tool, answers, call)

    def verify(self, tool: Tool, answers: Sequence[bytes]) -> Sequence[Outcome] | CallFailedError:
        async def call(connector: Connector) -> Sequence[Outcome]:
            await connector.verify(budget=CountedBudget())
            return ()

        return self._call(tool, answers, call)

    def _call(
        self, tool: Tool, answers: Sequence[bytes], call: Callable[[Connector], Awaitable[Sequence[Outcome]]]
    ) -> Sequence[Outcome] | CallFailedError:
        async def called() -> Sequence[Outcome] | CallFailedError:
            connector = self._connector(tool)
            try:
                return await call(connector)
            except CallFailedError as failure:
                return failure
            finally:
                await connector.close()

        self.provider.answers = list(answers)
        return self._runner.run(called())

    def _connector(self, tool: Tool) -> Connector:
        connector_type = CATALOGUE[tool.name]
        options: dict[str, Any] = {name: option.default for name, option in connector_type.options.items()}
        if tool.name == "webhook":
            options |= {"allow_private": True, "check_url": self.provider.url}
        if tool.name == "genesys":
            options |= {"login_url": self.provider.url}
        return connector_type.build(
            ConnectionSettings(
                destination="under-test",
                tenant="acme",
                channel=tool.channel,
                url=self.provider.url,
                credentials=tool.credentials,
                options=options,
                targets=(tool.target,),
                timeout_seconds=30.0,
            )
        )


def _push(tool: Tool, action: Action, number: int) -> Push:
    return Push(
        push_id=PUSH_IDS[number],
        tenant="acme",
        channel=tool.channel,
        address_key=f"h1.{number}",
        address=tool.address(number),
        action=action,
        target=tool.target,
        purposes=("newsletter",),
        reason="withdrawn",
        decision_ids=("d1",),
        version=number,
        occurred_at=1_760_000_000_123_456,
        recorded_at=1_760_000_000_500_000,
    )


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


header_bytes = st.one_of(
    texts.map(lambda text: text.encode("utf-8", "replace")[:2_000]),
    st.sampled_from([b"x" * 8_000, b"+33639980000", b"person0@example.com"]),
    st.binary(max_size=60),
    st.sampled_from(
        [b"0", b"-1", b"1e9", b"nan", b"inf", b"9" * 400, b".", b"1.", b"Thu, 01 Jan 1970 00:00:00 GMT", b"\xff\xfe"]
    ),
).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b""))
NAMES = (b"Retry-After", b"X-RateLimit-Reset", b"ININ-Correlation-Id", b"Content-Type", b"Location", b"X-Other")
headers = st.lists(st.tuples(st.sampled_from(NAMES), header_bytes), max_size=3)
statuses = st.one_of(
    st.sampled_from([200, 201, 204, 207, 302, 400, 401, 403, 404, 408, 410, 413, 429, 500, 503]), st.integers(200, 999)
)


def _answer(status: int, fields: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} X".encode(), *(name + b": " + value for name, value in fields)]
    return b"\r\n".join([*lines, b"Connection: close", b"Content-Length: %d" % len(body), b"", body])


def damaged(body: bytes) -> st.SearchStrategy[bytes]:
    """The body with other values in it, or with some of its bytes changed."""
    members = sorted(set(_members(json.loads(body or b"{}"))))
    replaced = st.builds(_replaced, st.just(body), st.sampled_from([*members, "x"]), fragments)
    added = st.builds(lambda fragment: b'{"x": ' + fragment + b"}", fragments)
    return st.one_of(replaced, replaced, replaced, added, mutated(st.just(body)), st.just(body), raw)


DEEP = b'{"x":' * 3_000
NASTY = (
    *(
        DEEP,
        b"[" * 3_000,
        b'"' + b"phone" * 2_000 + b'"',
        b'"phone\xff"',
        b'"\\ud800"',
        b"9" * 999,
        b"-1",
        b"1e999",
        b"null",
    ),
    *(
        b'"a\\r\\nX: y"',
        b'"\\u0000"',
        b'"\xc3\xa9"',
        b'"person0@example.com"',
        b'"+33639980000"',
        b'"phone +33639980000"',
    ),
)
fragments = st.one_of(
    st.sampled_from(NASTY),
    st.sampled_from(NASTY),
    raw,
    values.map(json.dumps).map(str.encode),
    texts.map(json.dumps).map(str.encode),
)


def _members(value: Any) -> Iterator[str]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield name
        for each in inner if isinstance(inner, list) else ():
            yield from _members(each)


def _replaced(body: bytes, member: str, fragment: bytes) -> bytes:
    """The body with the fragment as the value of the member, wherever it is in it."""
    pattern = re.compile(rb'("' + member.encode() + rb'": )(?:"[^"]*"|\[[^\[\]]*\]|\d+)')
    return pattern.sub(lambda found: found[1] + fragment, body)


def odd_answers(tool: Tool, step: int) -> st.SearchStrategy[bytes]:
    """Instead of what the provider answers to this call, the first being 0."""
    status, body = tool.answers[step]
    return st.one_of(
        st.builds(_answer, st.just(status), headers, damaged(body)),
        st.builds(_answer, st.just(status), headers, damaged(body)),
        st.builds(_answer, st.just(400), headers, damaged(tool.error)),
        st.builds(_answer, statuses, headers, damaged(body)),
        mutated(st.just(_answer(status, [], body))),
        raw,
    )


def sequences(tool: Tool) -> st.SearchStrategy[list[bytes]]:
    """All is well up to a call, whose answer is odd, as may be the next ones."""
    usual = [_answer(status, [], body) for status, body in tool.answers]
    steps = st.integers(0, len(usual) - 1)
    return steps.flatmap(
        lambda step: st.lists(odd_answers(tool, step), min_size=1, max_size=2).map(
            lambda odd: [*usual[:step], *odd, *usual[step + 1 :]]
        )
    )


LOGGED_IN = _answer(200, [], b'{"access_token": "token", "expires_in": 3600}')


@pytest.mark.parametrize("action", [SUPPRESS, PERMIT])
@pytest.mark.parametrize("name", TOOLS)
def test_an_answer_is_an_outcome_for_each_push_or_a_failed_call(name: str, action: Action, rig: Rig) -> None:  # R26
    tool = TOOLS[name]

    @fuzzed(share=3)
    @given(sequences(tool), st.booleans())
    def holds(sent: list[bytes], verifies: bool) -> None:
        with value_or():
            found = rig.verify(tool, sent) if verifies else rig.push(tool, action, sent)
        check(found)

    holds()


def check(found: Sequence[Outcome] | CallFailedError) -> None:
    """What is kept of an answer, in receipts and logs, is short, can be encoded and holds no address."""
    if isinstance(found, CallFailedError):
        kept = [found.reason, found.detail]
        if isinstance(found, ThrottledError):
            assert found.retry_after is None or 0 <= found.retry_after <= MAX_RETRY_AFTER_SECONDS
    else:
        kept = [text for each in found for text in _texts(each)]
    for text in kept:
        assert len(text) <= MAX_KEPT, f"{len(text)} characters of the provider's are kept"
        text.encode()
        assert "person0@" not in text
        assert "+3363998" not in text


FOUND: list[tuple[str, list[bytes]]] = [
    ("genesys", [_answer(200, [], b'{"access_token": "a\\r\\nX: y"}')]),
    ("genesys", [_answer(200, [], '{"access_token": "\u00e9"}'.encode())]),
    ("genesys", [_answer(200, [], DEEP)]),
    ("genesys", [LOGGED_IN, _answer(400, [], DEEP)]),
    ("genesys", [LOGGED_IN, _answer(400, [], b'{"code": "\xff"}')]),
    ("genesys", [LOGGED_IN, _answer(400, [], b'{"code": "' + b"phone" * 1_000 + b'"}')]),
    ("genesys", [LOGGED_IN, _answer(204, [(b"ININ-Correlation-Id", b"\xff\xfe")], b"")]),
    ("genesys", [LOGGED_IN, _answer(204, [(b"ININ-Correlation-Id", b"x" * 8_000)], b"")]),
    ("genesys", [LOGGED_IN, _answer(204, [(b"ININ-Correlation-Id", b"+33639980000")], b"")]),
    ("sendgrid", [_answer(200, [], b'{"id": 101}'), _answer(400, [], DEEP)]),
    ("sendgrid", [_answer(200, [], b'{"id": 101}'), _answer(400, [], b'{"errors": [{"message": "\xff"}]}')]),
    (
        "twilio",
        [_answer(201, [], b'{"items": [{"correlation_id": "' + b"0" * 32 + b'", "error_code": ' + b"9" * 999 + b"}]}")],
    ),
    ("twilio", [_answer(201, [], b'{"items": [{"correlation_id": "x", "error_code": 0, "y": ' + DEEP)]),
]


@pytest.mark.parametrize(("name", "sent"), FOUND)
def test_answers_that_were_errors_of_ours(name: str, sent: list[bytes], rig: Rig) -> None:
    check(rig.push(TOOLS[name], SUPPRESS, sent))


def _texts(outcome: Outcome) -> list[str]:
    match outcome:
        case Accepted(reference=reference):
            return [reference or ""]
        case Refused(code=code, detail=detail):
            return [code, detail]
        case retryable:
            after = retryable.after_seconds
            assert after is None or 0 <= after <= MAX_RETRY_AFTER_SECONDS
            return [retryable.reason]


wishes = st.one_of(
    texts,
    st.text(st.sampled_from("0123456789.-+eE :,GMTThuJan\u0663"), max_size=40),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes().map(lambda moment: f"{moment:%a, %d %b %Y %H:%M:%S} GMT"),
)


@fuzzed(share=5)
@given(st.dictionaries(st.sampled_from(["Retry-After", "X-RateLimit-Reset"]), wishes))
def test_a_wish_to_wait_is_a_bounded_time_or_none(given_headers: dict[str, str]) -> None:
    with value_or():
        found = retry_after(given_headers)
        assert found is None or 0 <= found <= MAX_RETRY_AFTER_SECONDS
