"""Each request has a span: of the caller's trace, or of a new one. Its name holds no path of the caller's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from consent_http import trace_middleware
from consent_service import trace_context
from consent_service.trace_context import TraceContext, begin, parse
from tests.support.kept_spans import KeptSpans, kept_spans


@pytest.fixture
def kept() -> Iterator[KeptSpans]:
    with kept_spans() as kept:
        yield kept


def exported(kept: KeptSpans) -> list[tuple[str, TraceContext, TraceContext | None, str | None]]:
    assert all(0 < each.start <= each.end and each.kind == "server" for each in kept.spans)
    return [(each.name, each.span, each.parent, each.error) for each in kept.spans]


def client(*, sampled_ratio: float = 0.0) -> TestClient:
    app = FastAPI()
    trace_middleware.install(app, sampled_ratio=sampled_ratio)

    @app.get("/p/{token}")
    def page(token: str) -> str:
        return str(trace_context.current())

    @app.get("/fails")
    def fails() -> None:
        raise RuntimeError("a bug")

    return TestClient(app, raise_server_exceptions=False)


def test_a_callers_trace_goes_on_in_a_span_of_its_own(kept: KeptSpans) -> None:
    caller = begin(sampled=True)
    span = parse(client().get("/p/secret", headers={"traceparent": str(caller)}).json())
    assert span is not None
    assert (span.trace_id, span.sampled) == (caller.trace_id, True)
    assert exported(kept) == [("GET /p/{token}", span, caller, None)]


@pytest.mark.parametrize("sent", [[], ["00-zz"], [str(begin(sampled=True))] * 2])
def test_without_one_valid_header_a_trace_begins(kept: KeptSpans, sent: list[str]) -> None:
    answer = client(sampled_ratio=1.0).get("/p/secret", headers=[("traceparent", each) for each in sent])
    span = parse(answer.json())
    assert span is not None
    assert span.sampled
    assert span.trace_id not in "".join(sent)
    assert exported(kept) == [("GET /p/{token}", span, None, None)]


def test_what_is_not_sampled_is_not_exported(kept: KeptSpans) -> None:
    caller = begin(sampled=False)
    span = parse(client(sampled_ratio=1.0).get("/p/secret", headers={"traceparent": str(caller)}).json())
    assert span is not None
    assert (span.trace_id, span.sampled) == (caller.trace_id, False)
    assert parse(client(sampled_ratio=0.0).get("/p/secret").json()) is not None
    assert exported(kept) == []


def test_a_failure_and_an_unknown_path(kept: KeptSpans) -> None:
    assert client(sampled_ratio=1.0).get("/fails").status_code == 500
    assert client(sampled_ratio=1.0).get("/p/secret/more").status_code == 404
    assert [(name, error) for name, _, _, error in exported(kept)] == [
        ("GET /fails", "status 500"),
        ("GET other", None),
    ]
