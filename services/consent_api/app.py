"""The HTTP API put together: every client is made here, and handed in by tests."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry

from consent_runtime import logs, observability, problems, starting
from consent_runtime.observability import Health

from .errors import LedgerUnavailable
from .http import decisions, explain, subjects
from .http.calls import Door
from .http.describe import describe
from .http.timing import Timing
from .keys import KeyBook
from .ledger import database
from .ledger.ids import DecisionIds
from .ledger.ledger import Ledger
from .ledger.outbox import Outbox
from .ledger.record import Desk
from .metrics import ApiMetrics
from .settings import ApiSettings
from .upkeep import Upkeep
from .validate import Rules

log = logging.getLogger(__name__)

DESCRIPTION = """Records what people choose, with the evidence, and tells who was told of it.

Every error is a problem document (RFC 9457) that names the field and the cure. Whatever is answered 2xx is durable."""

_LOOP = "http"
_GRACE_SECONDS = 20


def create_app(
    *,
    ledger: Ledger,
    book: KeyBook,
    rules: Rules,
    metrics: ApiMetrics,
    health: Health,
    longest_body: int = 1_048_576,
    threads: int = 16,
) -> FastAPI:
    """The API over these parts. Starts nothing but a heartbeat."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # One of the connections is the group commit's.
        anyio.to_thread.current_default_thread_limiter().total_tokens = max(1, threads - 1)
        beating = asyncio.create_task(_beat(health))
        health.ready(_LOOP)
        yield
        health.ready(_LOOP, "is shutting down")
        beating.cancel()

    app = FastAPI(title="Consent Relay", version="1", description=DESCRIPTION, lifespan=lifespan)
    problems.install(app)
    door = Door.of(book, tenants=frozenset(ledger.desk.keyring.tenants), longest_body=longest_body)
    app.include_router(decisions.routes(ledger, rules, metrics, door))
    app.include_router(subjects.routes(ledger, rules, door))
    app.include_router(explain.routes(ledger, rules, door))
    app.add_middleware(Timing, metrics=metrics)
    describe(app)

    @app.exception_handler(LedgerUnavailable)
    async def unavailable(_: Request, error: LedgerUnavailable) -> Response:
        metrics.unavailable.inc()
        return problems.render(
            problems.Problem(
                503,
                "ledger-unavailable",
                "The database does not answer. Nothing of this request was acknowledged.",
                cure="Send it again, with the same Idempotency-Key and event_id: it is carried out once.",
                headers={"Retry-After": str(error.retry_after)},
            )
        )

    return app


def connect_ledger(settings: ApiSettings) -> Ledger:
    """The ledger of this installation. Waits for the registry; the database may still be away."""
    keyring = starting.keyring(settings)
    codec = starting.codec(settings)
    engine = database.connect(settings.database, pool_size=settings.api_database_pool, application="consent-relay-api")
    return Ledger(
        engine=engine,
        desk=Desk(
            keyring=keyring,
            outbox=Outbox(codec=codec, topics=settings.topics, partitions=settings.partitions),
            ids=DecisionIds(),
        ),
    )


def serve(settings: ApiSettings) -> int:
    """Serve until SIGTERM or SIGINT, then finish what has begun. Returns the exit code."""
    import uvicorn

    logs.configure(settings.log_level, settings.service)
    ledger = connect_ledger(settings)
    registry = CollectorRegistry()
    health = Health(expected=(_LOOP, "database"))
    pages = observability.serve(registry, health, settings.metrics_host, settings.metrics_port)
    stop = threading.Event()
    metrics = ApiMetrics.on(registry, channels=settings.channels)
    looks = Upkeep(ledger, health, offset=metrics.clock_offset)
    upkeep = threading.Thread(target=looks.run, args=(stop,), name="upkeep", daemon=True)
    upkeep.start()
    app = create_app(
        ledger=ledger,
        book=KeyBook(ledger.engine),
        rules=Rules(channels=settings.channels, default_region=settings.default_region),
        metrics=metrics,
        health=health,
        longest_body=settings.api_max_body,
        threads=settings.api_threads,
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            http="httptools",
            ws="none",
            # Paths hold the caller's references, and every request is in the metrics.
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )

    def told(_: int, __: FrameType | None) -> None:
        # uvicorn handles signals while it runs, and raises them again once it has finished: the default action
        # would then kill us before we have put our things away.
        server.should_exit = True

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, told)
    try:
        server.run()
    finally:
        stop.set()
        upkeep.join(timeout=5.0)
        pages.close()
        ledger.engine.dispose()
    return 0 if server.started else 1


async def _beat(health: Health) -> None:
    while True:
        health.beat(_LOOP)
        await asyncio.sleep(1.0)
