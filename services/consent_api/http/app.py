"""The HTTP API put together: every client is made here, and handed in by tests."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry

from consent_api import tenant_purposes
from consent_api.console import routes as console_routes
from consent_api.console.entry import Console
from consent_api.domain.validation import ValidationRules
from consent_api.errors import LedgerUnavailableError, MisconfiguredError
from consent_api.http import (
    allow_once,
    decisions,
    events,
    explain,
    models,
    notices,
    rendering,
    renewals,
    reviews,
    spoken,
    subjects,
)
from consent_api.http import inbound as inbound_routes
from consent_api.http.dependencies import RequestDependencies
from consent_api.http.examples import EXAMPLES
from consent_api.http.group_commit import MAX_LOCK_WAITERS, GroupCommit
from consent_api.http.lane_monitor import LaneMonitor
from consent_api.http.metrics import ApiMetrics, LaneMetrics
from consent_api.http.metrics_middleware import RequestMetricsMiddleware
from consent_api.http.tenant_turns import TenantTurns
from consent_api.inbound import sources as inbound_sources
from consent_api.inbound.late_sources import LateSources
from consent_api.inbound.metrics import InboundMetrics
from consent_api.inbound.receiver import Inbound, Receiver
from consent_api.inbound.sources import WrongSource, followed_secrets
from consent_api.ledger import database
from consent_api.ledger.ids import DecisionIds
from consent_api.ledger.key_store import ApiKeyStore
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.outbox_messages import ChangeMessages
from consent_api.ledger.purposes import PurposeLimit, wait_for_used
from consent_api.ledger.recording import LedgerContext
from consent_api.links import api as links_api
from consent_api.links import one_click, opening, preferences, privacy_control, signal_api, start, theme
from consent_api.links.code_webhook import CodeWebhook
from consent_api.links.copied_path import CopiedPathMiddleware
from consent_api.links.making import LinkMaker
from consent_api.links.opening import LinkPages
from consent_api.links.page_notices import PageNotices
from consent_api.links.pauses import PauseEnder
from consent_api.links.recording import Choices
from consent_api.links.theme import Themes
from consent_api.links.token import Links
from consent_api.monitors import DatabaseMonitor
from consent_api.registers import declared
from consent_api.registers.metrics import RegisterMetrics
from consent_api.registers.monitor import RegisterMonitor
from consent_api.rights import api as rights_api
from consent_api.rights import models as rights_models
from consent_api.rights import person_pages
from consent_api.rights.erasure import api as erasure_api
from consent_api.rights.erasure.eraser import Eraser
from consent_api.rights.erasure.erasures import DAY_SECONDS
from consent_api.rights.metrics import RightsMetrics
from consent_api.rights.monitor import RequestMonitor
from consent_api.rights.rectification import api as rectification_api
from consent_api.settings import ApiSettings
from consent_http import api_docs, openapi, problem_details, request_id_middleware, trace_middleware
from consent_http.access_tokens import AccessTokens
from consent_http.errors import InvalidJwksError
from consent_http.rate_limits import RateLimits, RateMetrics
from consent_kafka.registry import connect_codec
from consent_privacy.keyring import Keyring
from consent_service import startup
from consent_service.health import Health
from consent_service.secret_files import SecretFile
from consent_service.stopping import join_all
from consent_service.wrong_entries import WrongEntries, ignore

log = logging.getLogger(__name__)

DESCRIPTION = """Records what people choose, with the evidence, and shows which destinations have received it.

Every error is a problem document (RFC 9457) that names the field and the cure. Whatever is answered 2xx is durable.

Every answer has a Request-Id: yours, if you send a well-formed one (no phone number), else ours, as in the logs."""

_DESCRIBED = (links_api, signal_api, rights_models, notices, renewals, allow_once, erasure_api, rectification_api)
"""What they take and answer is in /openapi.json, beside `models`."""
_FILES = (tenant_purposes.SETTING, theme.SETTING, inbound_sources.SETTING, declared.SETTING)
_LOOP = "http"
REQUESTS_SECONDS = 20
"""For the requests under way when the process is asked to end."""
MONITORS_SECONDS = 5.0
"""After that, for all of its monitors together."""


def create_app(
    *,
    ledger: Ledger,
    key_store: ApiKeyStore,
    rules: ValidationRules,
    metrics: ApiMetrics,
    health: Health,
    longest_body: int = 1_048_576,
    threads: int = 16,
    limits: RateLimits | None = None,
    themes: Themes | None = None,
    public_url: str | None = None,
    docs: bool = True,
    inbound: Inbound | None = None,
    code_webhook: CodeWebhook | None = None,
    notify_seconds: int = DAY_SECONDS,
    access_tokens: AccessTokens | None = None,
    sampled_ratio: float = 0.0,
) -> FastAPI:
    """The API over these parts. Starts nothing but a heartbeat. ``sampled_ratio``: the share of the traces begun here
    that are sampled."""
    bulk_threads = max(1, threads // 4)
    # One of the connections is the group commit's, one the webhooks', one is for keys not seen before, some are the
    # bulk requests'.
    of_webhooks = 1 if inbound is not None and (inbound.sources or inbound.wrong) else 0
    shared_threads = max(1, threads - 2 - of_webhooks - bulk_threads)
    tenants = frozenset(ledger.context.keyring.tenants)
    # One that shares them with no other tenant may have all.
    turns = TenantTurns(shared_threads if len(tenants) == 1 else max(1, shared_threads - 1))
    lock_waiters = max(1, min(MAX_LOCK_WAITERS, shared_threads - 1))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = shared_threads
        beating = asyncio.create_task(_beat(health))
        health.set_ready(_LOOP)
        yield
        health.set_ready(_LOOP, "is shutting down")
        beating.cancel()
        if code_webhook is not None:
            await code_webhook.close()

    app = FastAPI(
        title="Consent Relay", version="1", description=DESCRIPTION, lifespan=lifespan, **api_docs.urls(enabled=docs)
    )
    problem_details.install(app)
    trace_middleware.install(app, sampled_ratio=sampled_ratio)
    request_id_middleware.install(app)
    dependencies = RequestDependencies.build(
        key_store,
        tenants=tenants,
        longest_body=longest_body,
        limits=limits or RateLimits({}),
        turns=turns,
        access_tokens=access_tokens,
    )
    commits = GroupCommit(ledger, turns=turns, lock_waiters=lock_waiters, on_bulk=metrics.by_bulk.inc)
    app.include_router(decisions.routes(ledger, rules, metrics, dependencies, commits, bulk_threads=bulk_threads))
    withdrawals = spoken.SpokenWithdrawals(ledger, rules, metrics, commits)
    app.include_router(spoken.routes(withdrawals, dependencies))
    app.include_router(subjects.routes(ledger, rules, dependencies))
    app.include_router(events.routes(ledger, rules, dependencies))
    app.include_router(explain.routes(ledger, rules, dependencies))
    app.include_router(allow_once.routes(ledger, rules, dependencies))
    sealer, themes = Links(lambda: ledger.context.keyring), themes or {}
    maker = LinkMaker(sealer, themes, rules, public_url=public_url) if public_url is not None else None
    link_pages = LinkPages(sealer, themes, metrics, public_url=public_url)
    choices = Choices(rules, metrics, commits)
    app.include_router(links_api.routes(maker, dependencies))
    app.include_router(privacy_control.routes())
    app.include_router(signal_api.routes(ledger, rules, themes, choices, dependencies))
    app.include_router(one_click.routes(link_pages, choices))
    app.include_router(
        start.routes(
            start.CodeParts(ledger=ledger, links=link_pages, rules=rules, metrics=metrics, webhook=code_webhook)
        )
    )
    app.include_router(preferences.routes(ledger, link_pages, choices, PageNotices(ledger)))
    app.include_router(person_pages.routes(ledger, rules, link_pages))
    app.include_router(opening.routes(link_pages))
    resolver = reviews.Resolver(ledger)
    app.include_router(reviews.routes(ledger, resolver, dependencies))
    app.include_router(rights_api.routes(ledger, rules, themes, dependencies))
    app.include_router(notices.routes(ledger, dependencies))
    app.include_router(renewals.routes(ledger, dependencies))
    console = Console(ledger, themes, metrics, public_url=public_url)
    app.include_router(rectification_api.routes(ledger, rules, dependencies))
    app.include_router(
        console_routes.routes(
            console, rules=rules, withdrawals=withdrawals, resolver=resolver, notify_seconds=notify_seconds
        )
    )
    app.include_router(erasure_api.routes(ledger, rules, dependencies, notify_seconds=notify_seconds))
    if inbound is not None:
        receiver = Receiver(ledger, rules, inbound, on_bulk=metrics.by_bulk.inc, turns=turns, lock_waiters=lock_waiters)
        app.router.routes[:0] = inbound_routes.routes(receiver, inbound)
    app.add_middleware(CopiedPathMiddleware)
    app.add_middleware(RequestMetricsMiddleware, metrics=metrics)
    openapi.describe(
        app,
        sent=(*models.SENT, *(each for part in _DESCRIBED for each in part.SENT)),
        answered=(*models.ANSWERED, *(each for part in _DESCRIBED for each in part.ANSWERED)),
        examples=EXAMPLES | {name: found for part in _DESCRIBED for name, found in part.EXAMPLES.items()},
    )
    api_docs.serve(app)

    @app.exception_handler(LedgerUnavailableError)
    async def unavailable(_: Request, error: LedgerUnavailableError) -> Response:
        metrics.unavailable.inc()
        return problem_details.render(rendering.unavailable(error))

    return app


def connect_ledger(
    settings: ApiSettings, keyring: SecretFile[Keyring] | None = None, *, wait_seconds: float = 60.0
) -> Ledger:
    """The ledger of this installation. Waits for the registry, for ``wait_seconds``; the database may not be up yet.
    Without ``keyring``, that of the settings as it is now."""
    keyring = keyring or startup.keyring_file(settings)
    codec = connect_codec(settings, wait_seconds=wait_seconds)
    engine = database.connect(settings.database, pool_size=settings.api_database_pool, application="consent-relay api")
    database.refuse_denied(engine)
    return Ledger(
        engine=engine,
        context=LedgerContext(
            keyring=keyring.value,
            outbox=ChangeMessages(codec=codec, topics=settings.topics, partitions=settings.partitions),
            ids=DecisionIds(),
            most_addresses=settings.subject_addresses,
            purposes=PurposeLimit(most=settings.max_purposes),
            notices=settings.notices,
        ),
        keyring=lambda: keyring.value,
    )


def serve(settings: ApiSettings) -> int:
    """Serve until SIGTERM or SIGINT, then finish what has begun. The exit code; MisconfiguredError before the start."""
    from consent_http import http_server

    startup.begin_logs(settings)
    startup.require_address("CONSENT_RELAY_API", settings.api_host, settings.api_port)
    keyring = startup.keyring_file(settings)
    ledger = connect_ledger(settings, keyring)
    registry = CollectorRegistry()
    health = Health(expected=(_LOOP, "database"))
    wrong_entries = WrongEntries(registry, health, settings=_FILES)
    wrong_sources: dict[str | None, int] = {}

    def on_wrong_source(wrong: WrongSource) -> None:
        wrong_entries(wrong)
        wrong_sources[wrong.source_id] = wrong.again

    tenants = ledger.context.keyring.tenants
    rules = settings.rules(tenants, on_wrong=wrong_entries)
    themes = theme.offered(settings.themes(tenants, on_wrong=wrong_entries), rules, on_wrong=wrong_entries)
    sources = dict(settings.inbound_sources(tenants, rules, on_wrong=on_wrong_source))
    registers = settings.registers(tenants, rules, on_wrong=wrong_entries)
    PageNotices(ledger).register_all(themes)
    pages = startup.serve_pages(settings, registry, health)
    rules = wait_for_used(rules, ledger.transact)
    stop = threading.Event()
    watch = startup.watch_secrets(settings, registry, health, keyring)
    code_webhook = settings.code_webhook(watch)
    secrets = followed_secrets(settings.inbound_file, sources)
    watch.follow(*secrets.values())
    late_sources = LateSources(
        read=lambda: settings.inbound_sources(tenants, rules, on_wrong=ignore),
        secrets_of=lambda late: followed_secrets(settings.inbound_file, late),
        follow=watch.follow,
        wrong_entries=wrong_entries,
        sources=sources,
        secrets=secrets,
        wrong=wrong_sources,
    )
    try:
        access_tokens = settings.access_tokens(registry, watch, tenants=lambda: ledger.context.keyring.tenants)
    except InvalidJwksError as error:
        raise MisconfiguredError(f"CONSENT_RELAY_OAUTH_JWKS_FILE: {error}.") from None
    metrics = ApiMetrics.on(registry, channels=settings.channels)
    monitor = DatabaseMonitor(ledger, health, offset=metrics.clock_offset)
    lanes_engine = database.connect(settings.database, pool_size=1, application="consent-relay api lane monitor")
    lanes = LaneMonitor(
        engine=lanes_engine,
        inbound={Lane.LIVE: settings.topics.inbound, Lane.BULK: settings.topics.inbound_bulk},
        metrics=LaneMetrics.on(registry),
    )
    monitoring = [
        threading.Thread(target=run, args=(stop,), name=name, daemon=True)
        for name, run in (
            ("database-monitor", monitor.run),
            ("lane-monitor", lanes.run),
            ("request-monitor", RequestMonitor(ledger, RightsMetrics.on(registry)).run),
            ("register-monitor", RegisterMonitor(ledger, registers.values(), RegisterMetrics.on(registry)).run),
            ("eraser", Eraser(ledger, health=health, failures=metrics.erasure_failures).run),
            ("late-sources", late_sources.run),
            ("pause-ender", PauseEnder(ledger, health=health, failures=metrics.pause_failures).run),
        )
    ]
    for thread in monitoring:
        thread.start()
    app = create_app(
        ledger=ledger,
        key_store=ApiKeyStore(ledger.engine),
        rules=rules,
        metrics=metrics,
        health=health,
        longest_body=settings.api_max_body,
        threads=settings.api_threads,
        limits=RateLimits(settings.rates, metrics=RateMetrics.on(registry, tenants=tenants, budgets=settings.rates)),
        themes=themes,
        public_url=settings.public_url,
        docs=settings.api_docs,
        code_webhook=code_webhook,
        inbound=Inbound(
            sources=sources,
            metrics=InboundMetrics.on(registry, sources=[*sources, *filter(None, wrong_sources)]),
            secrets=lambda source: secrets[source.id].value,
            wrong=wrong_sources,
        ),
        notify_seconds=settings.erasure_wait,
        access_tokens=access_tokens,
        sampled_ratio=settings.sampled_ratio,
    )
    server = http_server.Server(
        http_server.config(app, host=settings.api_host, port=settings.api_port, grace_seconds=REQUESTS_SECONDS),
        shutdown_delay=settings.api_shutdown_delay,
        on_stopping=lambda: health.set_ready(_LOOP, "is shutting down"),
    )
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, server.stop)
    try:
        server.run()
    finally:
        stop.set()
        join_all(monitoring, seconds=MONITORS_SECONDS)
        watch.close()
        pages.close()
        lanes_engine.dispose()
        ledger.engine.dispose()
    return 0 if server.started else 1


async def _beat(health: Health) -> None:
    while True:
        health.heartbeat(_LOOP)
        await asyncio.sleep(1.0)
