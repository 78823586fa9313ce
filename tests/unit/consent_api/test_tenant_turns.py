"""However many requests of one tenant are under way, the threads that all share are left to others. # R45"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated

import anyio.to_thread
import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.testclient import TestClient

from consent_api.http.tenant_turns import TenantTurns
from consent_http.callers import Caller
from tests.support.waiting import until

THREADS = 3


class Blocked:
    """A route that blocks for the tenant acme until it is released, and counts who is in it."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.entered: list[str] = []

    def routes(self) -> APIRouter:
        router = APIRouter(route_class=TenantTurns(THREADS - 1).route_class())

        async def caller(tenant: Annotated[str, Query()]) -> Caller:
            return Caller(id="1", tenant=tenant, scopes=frozenset())

        @router.get("/waits/{name}", summary="Blocks")
        def waits(name: str, key: Annotated[Caller, Depends(caller)]) -> dict[str, str]:
            self.entered.append(key.tenant)
            if key.tenant == "acme":
                assert self.released.wait(timeout=60)
            return {"name": name}

        return router


@pytest.fixture
def blocked() -> Blocked:
    return Blocked()


@pytest.fixture
def client(blocked: Blocked) -> Iterator[TestClient]:
    @asynccontextmanager
    async def lifespan(_: FastAPI):  # type: ignore[no-untyped-def]
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(blocked.routes())
    with TestClient(app) as client:
        yield client


def test_one_tenant_s_requests_leave_a_thread_to_others(client: TestClient, blocked: Blocked) -> None:
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(client.get, "/waits/a", params={"tenant": "acme"}) for _ in range(20)]
        until(lambda: blocked.entered == ["acme"] * (THREADS - 1), what="acme's requests in threads")
        answers = [client.get("/waits/b", params={"tenant": "globex"}).json() for _ in range(5)]
        assert answers == [{"name": "b"}] * 5
        assert blocked.entered.count("acme") == THREADS - 1
        blocked.released.set()
        assert {each.result(timeout=60).status_code for each in waiting} == {200}


def test_a_route_is_described_as_it_is_written(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]["/waits/{name}"]["get"]
    assert described["summary"] == "Blocks"
    assert [each["name"] for each in described["parameters"]] == ["name", "tenant"]
    assert client.get("/waits/b").status_code == 422
