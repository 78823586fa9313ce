"""What the gate makes of the API's answer about a token: a permission only of a plain yes (R4, R18)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from suppression.gate.allow_once import AllowOnceApi
from tests.support.served import answering


@contextmanager
def api(status: int, body: bytes) -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], sent))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as url:
        yield f"{url}/relay/", asked


async def use(url: str) -> bool | None:
    return await AllowOnceApi(url).use("Bearer k", channel="sms", address_key="h1.a", token="t")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"permitted": true}', True),
        (200, b'{"permitted": false}', False),
        (200, b'{"permitted": "true"}', False),
        (200, b'{"permitted": 1}', False),
        (200, b"{}", None),
        (200, b"[]", None),
        (200, b"null", None),
        (200, b"<html>", None),
        (200, b"[" * 4_096, None),
        (503, b'{"permitted": true}', None),
        (404, b"", None),
    ],
)
async def test_only_a_plain_yes_permits(status: int, body: bytes, expected: bool | None) -> None:
    with api(status, body) as (url, asked):
        assert await use(url) is expected
    path, authorization, sent = asked[0]
    assert (path, authorization) == ("/relay/v1/allow-once/use", "Bearer k")
    assert sent == {"channel": "sms", "address_key": "h1.a", "token": "t"}


async def test_an_api_that_does_not_answer_says_nothing() -> None:
    with api(200, b"") as (url, _):
        pass
    assert await use(url) is None
