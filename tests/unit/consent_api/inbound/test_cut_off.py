"""A webhook whose body does not come whole is asked for again, in the way in which its provider hears it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from consent_api.http.inbound import routes
from consent_api.inbound.metrics import InboundMetrics
from consent_api.inbound.receiver import Inbound
from consent_api.inbound.sources import Source


class Receiver:
    def __init__(self) -> None:
        self.counted: list[str] = []

    def held(self, source: Source, *, declared: str) -> Any:
        return nullcontext()

    def cut_off(self, source: Source) -> None:
        self.counted.append(source.id)


@pytest.mark.parametrize(("provider", "status"), [("brevo", 429), ("mailjet", 503), ("aws-sns", 503)])
async def test_a_body_that_is_cut_off(provider: str, status: int) -> None:
    source = Source(id="tool", provider=provider, tenant="acme", channel="email")
    receiver = Receiver()
    inbound = Inbound(sources={"tool": source}, metrics=InboundMetrics.on(CollectorRegistry(), sources=["tool"]))
    app = FastAPI()
    app.router.routes[:0] = routes(receiver, inbound)  # type: ignore[arg-type]
    begun: dict[str, Any] = {"type": "http.request", "body": b"{", "more_body": True}
    came = iter([begun, {"type": "http.disconnect"}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(came)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/inbound/tool",
        "raw_path": b"/v1/inbound/tool",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == status
    assert receiver.counted == ["tool"]
