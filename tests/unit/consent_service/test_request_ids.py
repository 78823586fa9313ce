"""Request-Id: in each answer, and in what is logged meanwhile. No address gets into a log that way (R13)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator

import anyio.to_thread
import httpx
import pytest
from fastapi import FastAPI

from consent_http import problem_details, request_id_middleware
from consent_http.errors import ProblemError
from consent_service import request_ids
from consent_service.json_logs import JsonLines

WELL_FORMED = ["order-17", "7f3c2a9e-50d1-4b8e-9f43-1d2f0c6b7a10", "4bf92f3577b34da6a3ce929d0e0e4736", "a.b_c-D9"]
ILL_FORMED = ["", " ", "a b", "a" * 65, "ann@example.com", "0639980001", "x+33639980001", "06-39-98-00-01", "é", "a\tb"]

log = logging.getLogger("tests.request_ids")


def create() -> FastAPI:
    app = FastAPI()
    problem_details.install(app)
    request_id_middleware.install(app)

    @app.get("/logged")
    async def logged() -> None:
        log.warning("in the loop")
        await anyio.to_thread.run_sync(log.warning, "in a thread")

    @app.get("/outlived")
    async def outlived() -> None:
        async def later() -> None:
            log.warning("later")

        await asyncio.create_task(later(), context=request_ids.of_no_request())

    @app.get("/unavailable")
    async def unavailable() -> None:
        raise ProblemError(503, "ledger-unavailable", "Unavailable.")

    @app.get("/refused")
    async def refused() -> None:
        raise ProblemError(422, "invalid-decision", "No.", field="/channel")

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    written: list[dict[str, object]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(JsonLines("test").format(record)))

    handler = Kept()
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("sent", WELL_FORMED)
async def test_a_well_formed_id_of_the_caller_is_taken(
    client: httpx.AsyncClient, lines: list[dict[str, object]], sent: str
) -> None:
    answer = await client.get("/logged", headers={"Request-Id": sent})
    assert answer.headers["request-id"] == sent
    assert [(line["message"], line["request_id"]) for line in lines] == [("in the loop", sent), ("in a thread", sent)]


@pytest.mark.parametrize("sent", ILL_FORMED)
def test_any_other_is_replaced(sent: str) -> None:  # R13
    assert request_ids.chosen(sent) != sent


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/unavailable", 503), ("/bug", 500)])
async def test_errors_have_one_too(client: httpx.AsyncClient, path: str, status: int) -> None:
    first, second = await client.get(path), await client.get(path)
    assert first.status_code == status
    assert first.headers["request-id"] != second.headers["request-id"]


async def test_a_failed_request_is_found_in_the_log(client: httpx.AsyncClient, lines: list[dict[str, object]]) -> None:
    answer = await client.get("/unavailable")
    [line] = lines
    assert line["problem"] == "ledger-unavailable"
    assert line["request_id"] == answer.headers["request-id"]


async def test_a_refused_request_is_found_in_the_log(
    client: httpx.AsyncClient, lines: list[dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answer = await client.get("/refused", headers={"Request-Id": "order-17"})
    assert (await client.get("/nowhere", headers={"Request-Id": "order-18"})).status_code == 404
    assert answer.status_code == 422
    ours = [line for line in lines if line["logger"] == "consent_http.problem_details"]
    assert [(line["message"], line["field"], line["request_id"]) for line in ours] == [
        ("request refused", "/channel", "order-17")
    ]


async def test_what_outlives_a_request_logs_no_id(client: httpx.AsyncClient, lines: list[dict[str, object]]) -> None:
    await client.get("/outlived", headers={"Request-Id": "order-17"})
    [line] = lines
    assert "request_id" not in line
