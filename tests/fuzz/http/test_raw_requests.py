"""Bytes on the sockets of the API and the gate: bodies that are no JSON, and requests that are no HTTP."""

from __future__ import annotations

import json
import re
import socket
import time
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.budget import fuzzed
from tests.fuzz.hostile import broken_texts, mutated, raw, texts, values
from tests.fuzz.http.services import MAX_ANSWER_BYTES, MAX_SECONDS, Service, require_all_well

A = "+33639980001"
DECISION = {"subject_ref": "s-1", "address": A, "channel": "sms", "purpose": "newsletter", "status": "withdrawn"}
BODIES: dict[str, Any] = {
    "/v1/decisions": DECISION,
    "/v1/decisions/batch": {"decisions": [DECISION, DECISION], "bulk": False},
    "/v1/subjects/{subject_ref}/addresses": {"addresses": [{"channel": "sms", "address": A}]},
    "/v1/explain": {"channel": "sms", "address": A, "purpose": "newsletter"},
    "/v1/links": {"links": [{"channel": "sms", "address": A, "purpose": "newsletter", "subject_ref": "s-1"}]},
    "/v1/reviews/{review_id}": {"resolution": "withdrawal"},
    "/v1/check": {"channel": "sms", "purpose": "newsletter", "addresses": [A, "x"]},
}
CONTENT_TYPES = (
    *("application/json", "application/json; charset=utf-16", "APPLICATION/JSON;", "application/merge-patch+json"),
    *(
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/octet-stream",
        "",
        "/",
        "a" * 999,
    ),
)
ENCODINGS = ("", "", "", "gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "x" * 99)


content_types = st.sampled_from((*[CONTENT_TYPES[0]] * 8, *CONTENT_TYPES))


def contents(valid: Any) -> st.SearchStrategy[bytes]:
    """A valid body with its values replaced or its bytes damaged; many items; and anything."""
    usual = json.dumps(valid).encode()
    member = st.sampled_from(sorted(valid))
    replaced = st.builds(lambda name, value: json.dumps({**valid, name: value}).encode(), member, values)
    added = st.builds(lambda name, value: json.dumps({**valid, name: value}).encode(), broken_texts, values)
    texts_in = st.builds(lambda name, text: json.dumps({**valid, name: text}).encode(), member, broken_texts)
    within = st.builds(lambda fragment: usual[:-1] + b', "x": ' + fragment + b"}", raw)
    many = st.builds(
        lambda name, item, count: json.dumps({**valid, name: [item] * count}).encode(),
        member,
        st.one_of(values, broken_texts.map(lambda text: text[:100])),
        st.sampled_from([0, 1, 99, 1_001, 10_001]),
    )
    return st.one_of(mutated(st.just(usual)), replaced, added, texts_in, within, many, raw)


@pytest.mark.parametrize("name", ["api", "gate"])
def test_a_body_of_any_bytes_gets_a_documented_answer(services: dict[str, Service], name: str) -> None:  # R15
    service = services[name]
    with httpx.Client(base_url=service.url, timeout=MAX_SECONDS) as client:
        for path, methods in service.document["paths"].items():
            for method, described in methods.items():
                if "requestBody" in described:
                    valid = BODIES.get(path) or example(service.document, described)
                    documented = {int(each) for each in described["responses"]}
                    send_bodies(client, service, method.upper(), path, valid, documented)
    require_all_well(services)


def example(document: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """The first example of an operation's body."""
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["examples"][0]
    return found


def send_bodies(
    client: httpx.Client, service: Service, method: str, path: str, valid: dict[str, Any], documented: set[int]
) -> None:
    @fuzzed(share=2)
    @given(contents(valid), content_types, st.sampled_from(ENCODINGS))
    def holds(content: bytes, content_type: str, encoding: str) -> None:
        headers = {"Authorization": service.authorization, "Idempotency-Key": str(uuid4())}
        headers |= {"Content-Type": content_type} if content_type else {}
        headers |= {"Content-Encoding": encoding} if encoding else {}
        answer = client.request(
            method,
            re.sub(r"\{\w+\}", lambda _: str(uuid4()), path.replace("{subject_ref}", "s-1")),
            content=content,
            headers=headers,
        )
        check(answer)
        assert answer.status_code in documented, answer.text

    holds()


def check(answer: httpx.Response) -> None:
    """No 5xx, not long, and either a result or a problem with its members."""
    assert answer.status_code < 500, answer.text
    assert len(answer.content) <= MAX_ANSWER_BYTES
    if not answer.is_success:
        document = answer.json()
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert document["status"] == answer.status_code
        assert document["type"].startswith("urn:consent-relay:problem:")
        assert len(document.get("errors", ())) <= 100


PATHS = {
    "api": (
        "/v1/subjects/{}/state",
        "/v1/subjects/{}/addresses",
        "/v1/subjects/{}/history",
        "/v1/decisions/{}",
        "/v1/events/{}",
        "/v1/decisions/{}/receipts",
        "/v1/subjects/s-1/state?at={}",
    ),
    "gate": ("/{}", "/v1/{}", "/v1/check?{}"),
}
spelled = st.one_of(
    texts.map(lambda text: quote(text[:2_000], safe="")),
    st.binary(max_size=100).map(lambda data: quote(data, safe="")),
    st.sampled_from(
        [
            "..%2f..%2fetc",
            "%",
            "%zz",
            "%00",
            "%0A",
            "%ff%fe",
            "%ed%a0%80",
            "a%0Ab",
            "//",
            "%2e%2e",
            "x" * 3_000,
            "s1%0A",
        ]
    ),
)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_of_any_bytes_gets_an_answer(services: dict[str, Service], name: str) -> None:
    service = services[name]
    with httpx.Client(base_url=service.url, timeout=MAX_SECONDS) as client:

        @fuzzed(share=4)
        @given(
            st.sampled_from(PATHS[name]), spelled, st.sampled_from(["GET", "GET", "HEAD", "POST", "DELETE", "PATCH"])
        )
        def holds(path: str, part: str, method: str) -> None:
            headers = {"Authorization": service.authorization}
            answer = client.request(method, path.format(part), headers=headers)
            assert answer.status_code < 500
            if method != "HEAD" and answer.content:
                check(answer)

        holds()
    require_all_well(services)


header_values = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"Bearer " + b"x" * 9_000,
            b"Bearer cr_abcdef_" + b"A" * 43,
            b"bearer",
            b"Basic eDp5",
            b'"',
            b"\xff",
            b"1" * 400,
        ]
    ),
    texts.map(lambda text: text.encode("utf-8", "replace")[:5_000]),
)
HEADERS = (
    b"Authorization",
    b"Idempotency-Key",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Expect",
    b"Host",
    b"Connection",
    b"X",
)


def _request(path: str, fields: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    lines = [b"POST " + path.encode() + b" HTTP/1.1", b"Host: x", *(name + b": " + value for name, value in fields)]
    return b"\r\n".join([*lines, b"", body])


def requests(service: Service) -> st.SearchStrategy[bytes]:
    path = "/v1/check" if service.name == "gate" else "/v1/decisions"
    body = json.dumps(BODIES[path]).encode()
    usual = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
    usual += [(b"Authorization", service.authorization.encode()), (b"Idempotency-Key", b"k")]
    odd = st.lists(st.tuples(st.sampled_from(HEADERS), header_values), min_size=1, max_size=3)
    chunked = [(b"Content-Type", b"application/json"), (b"Transfer-Encoding", b"chunked"), *usual[2:]]
    chunks = st.sampled_from(
        [b"5\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n", b"2;x\r\n{}\r\n0\r\nX: y\r\n\r\n", b"zz"]
    )
    return st.one_of(
        mutated(st.just(_request(path, usual, body))),
        st.builds(lambda fields: _request(path, [*usual, *fields], body), odd),
        st.builds(lambda chunk: _request(path, chunked, chunk), chunks),
        st.builds(
            lambda count: _request(path, [(b"X-%d" % each, b"y") for each in range(count)], body), st.integers(0, 3_000)
        ),
        raw,
    )


@pytest.mark.parametrize("name", ["api", "gate"])
def test_bytes_that_are_no_request_end_the_connection_and_nothing_else(services: dict[str, Service], name: str) -> None:
    service = services[name]
    address = urlsplit(service.url)

    @fuzzed(share=4)
    @given(requests(service))
    def holds(sent: bytes) -> None:
        answered = exchange((address.hostname or "", address.port or 0), sent)
        statuses = [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3})", answered)]
        assert bool(statuses) == bool(answered), answered[:200]
        assert all(status < 500 for status in statuses), answered[:1_000]

    holds()
    require_all_well(services)


def exchange(address: tuple[str, int], sent: bytes) -> bytes:
    """What is answered until the service closes the connection, which it has to do soon once nothing more is sent."""
    answered = b""
    deadline = time.monotonic() + MAX_SECONDS
    with socket.create_connection(address, timeout=MAX_SECONDS) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                answered += part
                assert len(answered) <= MAX_ANSWER_BYTES
                assert time.monotonic() < deadline, "the service does not close the connection"
        except (ConnectionResetError, BrokenPipeError):
            pass  # It has closed before it read everything.
    return answered
