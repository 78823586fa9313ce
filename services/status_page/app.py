"""Composition root of the status page: builds what reads, what remembers and what answers, and runs them."""

from __future__ import annotations

import asyncio
import signal

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry

from consent_http import http_server, problem_details, request_id_middleware
from consent_http.api_keys import KeyFile
from consent_http.errors import InvalidApiKeysError
from consent_service import startup
from consent_service.health import Health
from status_page import dead_letters, pages, questions, routes
from status_page.collector import PART, Collector
from status_page.discovery import Discovery
from status_page.entrance import Entrance
from status_page.explaining import ExplainApi
from status_page.metrics import StatusMetrics
from status_page.observed import Observed
from status_page.routes import Site
from status_page.samples import STARTED
from status_page.scraping import Scraper
from status_page.sessions import Sessions
from status_page.settings import PROCESSES, StatusSettings
from status_page.streams import Streams

_GRACE_SECONDS = 5
_LOOK_SECONDS = 1.0


def create_app(site: Site) -> FastAPI:
    """Only people call it: it describes itself to no program."""
    app = FastAPI(title="Consent Relay status", docs_url=None, redoc_url=None, openapi_url=None)
    problem_details.install(app)
    request_id_middleware.install(app)
    app.include_router(routes.routes(site))

    @app.exception_handler(InvalidApiKeysError)
    async def unavailable(request: Request, _: InvalidApiKeysError) -> Response:
        root = "../" * max(request.url.path.count("/") - 2, 0)
        return pages.fault(site.entrance.page(request, root=root), 503)

    return app


def run_status(settings: StatusSettings) -> int:
    """Answer until SIGTERM or SIGINT. Raises InvalidApiKeysError before the start."""
    startup.require_address("CONSENT_RELAY_STATUS", settings.status_host, settings.status_port)
    keys = KeyFile(settings.status_keys_file)
    registry = CollectorRegistry()
    health = Health(expected=("http", PART))
    server = startup.serve_pages(settings, registry, health)
    watch = startup.watch_secrets(settings, registry, health, keys.file)
    try:
        return asyncio.run(_run(settings, keys, StatusMetrics.on(registry, processes=PROCESSES), health))
    finally:
        watch.close()
        server.close()


async def _run(settings: StatusSettings, keys: KeyFile, metrics: StatusMetrics, health: Health) -> int:
    path = questions.stages(settings.topics)
    observed = Observed(settings.targets, path, interval=settings.status_interval)
    listed = (dead_letters.OFFSET, dead_letters.AT)
    scraper = Scraper({STARTED, *listed, *(name for each in questions.queries_of(path) for name in each.names)})
    explain = ExplainApi(settings.status_api_url) if settings.status_api_url is not None else None
    collector = Collector(observed, Discovery(settings.targets).targets, scraper.read, metrics=metrics, health=health)
    site = Site(
        Entrance(keys, Sessions(), url=settings.status_url, explains=explain is not None),
        Streams(observed, collector, metrics),
        metrics,
        explain=explain,
        channels=settings.channels,
        interval=settings.status_interval,
        url=settings.status_url,
    )
    server = http_server.Server(
        http_server.config(
            create_app(site), host=settings.status_host, port=settings.status_port, grace_seconds=_GRACE_SECONDS
        )
    )

    def stop() -> None:
        health.set_ready("http", "stopping")
        collector.stop()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    tasks = [asyncio.create_task(collector.run()), asyncio.create_task(_monitor(server, keys, health))]
    for each in tasks:
        # A fault of ours ends the process: a page that no longer advances would look alive.
        each.add_done_callback(lambda task: None if task.cancelled() else stop())
    try:
        await server.serve()
    finally:
        for each in tasks:
            each.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await scraper.close()
        if explain is not None:
            await explain.close()
    for failure in ended:
        if isinstance(failure, Exception):
            raise failure
    return 0 if server.started else 1


async def _monitor(server: http_server.Server, keys: KeyFile, health: Health) -> None:
    while not server.should_exit:
        health.heartbeat("http")
        health.set_ready("http", server.started or "starting")
        health.set_ready("keys", keys.file.error or True)
        await asyncio.sleep(_LOOK_SECONDS)
