"""Every HTTP error is an RFC 9457 problem that names the field and the cure, and quotes nothing (R13, R15)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request

from consent_http import problem_details, request_body
from consent_http.errors import ProblemError


class Order(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    channel: str
    count: int = 0
    nested: list[list[int]] = []


DECODER = msgspec.json.Decoder(Order)


def create() -> FastAPI:
    app = FastAPI()
    problem_details.install(app)

    @app.post("/orders", responses=problem_details.responses(400, 413, 415, 422))
    async def order(request: Request) -> dict[str, str]:
        return {"channel": (await request_body.read_json(request, DECODER, limit=1000)).channel}

    @app.get("/orders/{number}")
    async def one(number: int) -> None:
        raise ProblemError(409, "in-flight", "Busy.", field="number", cure="Wait.", headers={"Retry-After": "1"})

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("marked77@example.com")

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        yield client


def check(answer: httpx.Response, status: int, kind: str, field: str | None = None) -> dict[str, object]:
    document: dict[str, object] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, document["status"]) == (status, status)
    assert document["type"] == f"urn:consent-relay:problem:{kind}"
    assert document.get("field") == field
    assert document["title"]
    assert document["detail"]
    assert "marked77" not in answer.text
    return document


JSON = {"content-type": "application/json"}


async def test_a_good_body_is_read(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/orders", content=b'{"channel":"sms"}', headers={"content-type": "application/json; charset=utf-8"}
    )
    assert answer.json() == {"channel": "sms"}


@pytest.mark.parametrize(
    ("body", "status", "kind", "field"),
    [
        (b"", 400, "malformed-json", "body"),
        (b"{", 400, "malformed-json", "body"),
        (b'{"channel":"\xff"}', 400, "malformed-json", "body"),
        (b'{"channel":"a","nested":' + b"[" * 400 + b"]" * 400 + b"}", 422, "invalid-request", "/nested/0/0"),
        (b"[]", 422, "invalid-request", "body"),
        (b"{}", 422, "invalid-request", "/channel"),
        (b'{"channel":"a","count":"marked77@example.com"}', 422, "invalid-request", "/count"),
        (b'{"channel":"a","marked77@example.com":1}', 422, "invalid-request", "body"),
        (b'{"channel":"' + b"a" * 1000 + b'"}', 413, "body-too-large", "body"),
    ],
)
async def test_bad_bodies_are_named(client: httpx.AsyncClient, body: bytes, status: int, kind: str, field: str) -> None:
    assert check(await client.post("/orders", content=body, headers=JSON), status, kind, field)["cure"]


@pytest.mark.parametrize(
    ("body", "field", "cure"),
    [
        (b'{"kind":"forget"}', "/kind", "Send one of access, erasure."),
        (b'{"kind":"access","lines":[{"size":"l"},{"size":"xl"}]}', "/lines/1/size", "Send one of l, s."),
        (b'{"kind":"access","priority":3}', "/priority", "Send one of 1, 2."),
        (b'{"lines":[]}', "/kind", "Send one of access, erasure."),
        (
            b'{"kind":"access","lines":[{"size":"s","colour":1}]}',
            "/lines/0/colour",
            "Leave it out; known here are size.",
        ),
        (b'{"kind":"access","notes":{"a":1}}', "/notes", None),
        (b'{"kind":"access","marked 77":1}', "body", "Leave it out; known here are kind, lines, priority, notes."),
    ],
)
def test_the_values_that_a_member_may_have_are_listed(body: bytes, field: str, cure: str | None) -> None:
    class Line(msgspec.Struct, forbid_unknown_fields=True):
        size: Literal["s", "l"]

    class Question(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
        kind: Literal["access", "erasure"]
        lines: list[Line] | None = None
        priority: Annotated[Literal[1, 2] | None, msgspec.Meta(description="how soon")] = None
        notes: dict[str, str] = {}

    with pytest.raises(ProblemError) as caught:
        request_body.decode(body, msgspec.json.Decoder(Question))
    assert caught.value.field == field
    assert caught.value.cure == (cure or "Correct this member; /openapi.json describes what is wanted.")


async def test_deep_json_is_refused_and_not_followed(client: httpx.AsyncClient) -> None:
    class Anything(msgspec.Struct):
        value: object

    deep = b'{"value":' + b"[" * 400_000 + b"]" * 400_000 + b"}"
    with pytest.raises(ProblemError) as caught:
        request_body.decode(deep, msgspec.json.Decoder(Anything))
    assert caught.value.kind == "malformed-json"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"cut \ud83d", "cut \ufffd"),
        (r"\ude00\uD83D", "\ufffd\ufffd"),
        (r"\ud83d\ude00\ud83d", "\U0001f600\ufffd"),
        (r"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (r"\ud83d\u0041", "\ufffdA"),
    ],
)
def test_half_a_surrogate_pair_spoils_its_text_alone(written: str, read: str) -> None:
    body = f'{{"whole": "\\u00e9", "text": "{written}"}}'.encode()
    assert request_body.decode(body, msgspec.json.Decoder(dict[str, str])) == {"whole": "\u00e9", "text": read}


async def test_a_body_without_declared_length_is_bounded_too(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 500

    check(await client.post("/orders", content=chunks(), headers=JSON), 413, "body-too-large", "body")


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded"])
async def test_another_content_type_is_refused(client: httpx.AsyncClient, content_type: str) -> None:
    answer = await client.post("/orders", content=b"{}", headers={"content-type": content_type})
    check(answer, 415, "unsupported-media-type", "Content-Type")


async def test_the_framework_s_errors_are_problems_too(client: httpx.AsyncClient) -> None:
    check(await client.get("/nowhere"), 404, "not-found")
    answer = await client.get("/orders")
    check(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    check(await client.get("/orders/marked77"), 422, "invalid-request", "path.number")
    answer = await client.get("/orders/7")
    check(answer, 409, "in-flight", "number")
    assert answer.headers["retry-after"] == "1"


async def test_a_bug_shows_the_caller_nothing_but_that_it_failed(client: httpx.AsyncClient) -> None:  # R13
    check(await client.get("/bug"), 500, "internal-error")


def test_missing_keys_and_scopes_say_how_to_get_them() -> None:  # R15
    assert problem_details.missing_api_key().headers["WWW-Authenticate"].startswith("Bearer")
    assert problem_details.missing_scope("check").status == 403
    assert "check" in problem_details.missing_scope("check").document()["cure"]


def test_openapi_describes_the_problems() -> None:
    answers = create().openapi()["paths"]["/orders"]["post"]["responses"]
    for status in ("400", "413", "415", "422"):
        assert list(answers[status]["content"]) == ["application/problem+json"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "Deflate", "gzip, identity"])
async def test_a_compressed_body_is_refused_by_name(client: httpx.AsyncClient, encoding: str) -> None:
    answer = await client.post("/orders", content=b"\x1f\x8b", headers={**JSON, "content-encoding": encoding})
    check(answer, 415, "unsupported-content-encoding", "Content-Encoding")
    assert answer.headers["accept-encoding"] == "identity"
    plain = await client.post("/orders", content=b'{"channel":"sms"}', headers={**JSON, "content-encoding": "identity"})
    assert plain.status_code == 200


async def test_a_byte_order_mark_is_skipped(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", content=b'\xef\xbb\xbf{"channel":"sms"}', headers=JSON)
    assert answer.json() == {"channel": "sms"}


async def test_a_body_has_a_deadline(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.05)

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = await client.post("/orders", content=never(), headers=JSON)
    check(answer, 408, "body-too-slow")
    assert answer.headers["connection"] == "close"
