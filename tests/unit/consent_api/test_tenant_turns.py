"""However many requests of one tenant are under way, the threads that all share are left to others. # R45"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

import anyio
import anyio.to_thread
import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.testclient import TestClient

from consent_api.errors import LedgerContendedError
from consent_api.http import group_commit
from consent_api.http.group_commit import GROUP_LOCK_TIMEOUT_MS, GroupCommit
from consent_api.http.tenant_turns import TenantTurns
from consent_api.ledger.idempotency import Request
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.submissions import Completed, Submission
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


class Transactions:
    """In the place of a ledger: what is carried out in a transaction needs no database here."""

    context = None

    def transact(self, work: Callable[[Any], Any], *, limit_seconds: float | None = None) -> Any:
        return work(None)


def _submission(tenant: str, number: int) -> Submission:
    request = Request(tenant=tenant, key=f"k{number}", content=b"x")
    return Submission(request=request, parse=lambda _: [], answer=lambda _, __: None)


def test_decisions_that_wait_for_locks_leave_a_thread_to_other_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    released, waiting = threading.Event(), threading.Semaphore(0)

    def execute(
        _: object, __: object, submissions: Sequence[Submission], *, lane: Lane, lock_ms: int
    ) -> list[Completed]:
        if submissions[0].request.tenant == "acme":
            if lock_ms == GROUP_LOCK_TIMEOUT_MS:
                raise LedgerContendedError("locked")
            waiting.release()
            assert released.wait(timeout=60)
        return [Completed(answer=None) for _ in submissions]

    monkeypatch.setattr(group_commit, "execute", execute)

    async def story() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        turns = TenantTurns(THREADS - 1)
        commits = GroupCommit(cast(Ledger, Transactions()), turns=turns)
        acme = [asyncio.create_task(commits.commit_grouped(_submission("acme", number))) for number in range(10)]
        for _ in range(THREADS - 1):
            assert await anyio.to_thread.run_sync(lambda: waiting.acquire(timeout=60), limiter=anyio.CapacityLimiter(1))
        async with turns.of("globex"):
            await asyncio.wait_for(anyio.to_thread.run_sync(lambda: None), timeout=30)
        released.set()
        await asyncio.wait_for(asyncio.gather(*acme), timeout=60)

    asyncio.run(story())
