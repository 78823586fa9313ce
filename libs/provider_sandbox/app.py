"""The composition root: one web application over all sandboxed providers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from provider_sandbox.config import SandboxConfig
from provider_sandbox.control import Control, restricted_to
from provider_sandbox.fault_middleware import FaultMiddleware
from provider_sandbox.faults import Faults
from provider_sandbox.genesys import Genesys
from provider_sandbox.provider import Provider
from provider_sandbox.provider_state import ChangeLog, ProviderState
from provider_sandbox.request_log import RequestLog
from provider_sandbox.sendgrid import SendGrid
from provider_sandbox.twilio import Twilio
from provider_sandbox.webhook import Webhook

_LARGEST_BODY = 16 * 2**20


def create_app(config: SandboxConfig, log: ChangeLog | None = None) -> web.Application:
    provider_state, request_log, faults = ProviderState(log), RequestLog(config.logged_calls), Faults()
    genesys = Genesys(config.genesys, provider_state, faults)
    webhook = Webhook(config.webhook, provider_state, faults)
    providers: Sequence[Provider] = (
        Twilio(config.twilio, provider_state, faults),
        SendGrid(config.sendgrid, provider_state, faults),
        genesys,
        webhook,
    )
    fault_middleware = FaultMiddleware(providers, request_log, faults)
    middlewares = [restricted_to(config.control_token)] if config.control_token else []
    app = web.Application(middlewares=[*middlewares, fault_middleware.middleware], client_max_size=_LARGEST_BODY)
    for provider in providers:
        app.add_routes(provider.routes())
    app.add_routes(Control(provider_state, request_log, faults, fault_middleware, genesys, webhook).routes())
    app.add_routes([web.get("/healthz", _alive), web.get("/readyz", _alive)])
    return app


async def _alive(request: web.Request) -> web.Response:
    """Nothing to wait for: a process that answers is ready."""
    return web.json_response({"status": "ok"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A sandbox that accepts calls; `url` has no slash at its end."""

    url: str
    runner: web.AppRunner

    async def close(self) -> None:
        await self.runner.cleanup()


async def start(app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> Running:
    """Serve inside the running loop; port 0 takes a free one. No access log: paths hold addresses."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    bound_host, bound_port = runner.addresses[0][:2]
    return Running(url=f"http://{bound_host}:{bound_port}", runner=runner)
