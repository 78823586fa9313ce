"""Composition root of the gate: builds the views, the keys and the server, and runs them."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator, Mapping

import uvicorn
from prometheus_client import CollectorRegistry

from consent_client import SuppressionView
from consent_contracts.codec import Codec
from consent_runtime import observability, provision, starting
from consent_runtime.api_keys import InvalidApiKeys, KeyFile
from consent_runtime.observability import Health
from consent_runtime.topic_admin import ProvisionError

from .app import Gate, create_app
from .metrics import GateMetrics, ViewMetrics
from .settings import GateSettings

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 10
_LOOK_SECONDS = 0.5


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which end the process by the signal rather than with a code."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_gate(settings: GateSettings) -> int:
    """Answer until SIGTERM or SIGINT, then finish what is under way (0); 1 when a view has failed.

    Raises InvalidApiKeys, and WrongTopics as soon as the broker has said so: until then every answer is no.
    """
    # While a bulk change streams in, the reading threads would keep the interpreter for 5 ms at a time, several
    # times in one request.
    sys.setswitchinterval(0.0005)
    registry = CollectorRegistry()
    health = Health(expected=["http", *(_part(channel) for channel in settings.channels)])
    metrics_server = observability.serve(registry, health, settings.metrics_host, settings.metrics_port)
    keyring = starting.keyring(settings)
    keys = KeyFile(settings.gate_keys_file)
    keys.refresh()
    codec = starting.codec(settings)
    views = {channel: _view(channel, settings, codec, health) for channel in settings.channels}
    registry.register(ViewMetrics(views.values()))
    metrics = GateMetrics.on(registry)
    gate = Gate(
        views=views,
        keyring=keyring,
        keys=keys,
        metrics=metrics,
        default_region=settings.default_region,
        unknown=settings.unknown,
    )
    server = _Server(
        uvicorn.Config(
            create_app(gate, metrics),
            host=settings.gate_host,
            port=settings.gate_port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )
    try:
        return asyncio.run(_serve(server, gate, views, keys, health, settings))
    finally:
        for view in views.values():
            view.close()
        metrics_server.close()


async def _serve(
    server: uvicorn.Server,
    gate: Gate,
    views: Mapping[str, SuppressionView],
    keys: KeyFile,
    health: Health,
    settings: GateSettings,
) -> int:
    def stop() -> None:
        health.ready("http", "stopping")
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    looking = asyncio.create_task(_look_after(server, gate, views, keys, health))
    reading = asyncio.create_task(_read(server, views, health, settings))
    try:
        await server.serve()
    finally:
        looking.cancel()
        reading.cancel()
    if reading.done() and not reading.cancelled():
        reading.result()
    return 1 if any(view.failure is not None for view in views.values()) else 0


async def _read(
    server: uvicorn.Server, views: Mapping[str, SuppressionView], health: Health, settings: GateSettings
) -> None:
    """Begin to read once the broker has said that the lists are as wanted; end the process when they are not."""
    lists = [*map(settings.topics.suppression, views)]
    said = ""
    try:
        while True:
            for channel in views:
                health.beat(_part(channel))
            try:
                await asyncio.to_thread(provision.compare, settings, lists)
                break
            except ProvisionError as error:
                if said != (said := str(error)):
                    log.warning("the topics cannot be compared yet", extra={"error": said})
                health.ready("topics", said)
                await asyncio.sleep(_LOOK_SECONDS)
        health.ready("topics")
        for view in views.values():
            view.start()
    except BaseException:
        server.should_exit = True
        raise


async def _look_after(
    server: uvicorn.Server, gate: Gate, views: Mapping[str, SuppressionView], keys: KeyFile, health: Health
) -> None:
    """Tell the health page how the parts are; end the process when one of them is broken beyond repair."""
    while not server.should_exit:
        health.beat("http")
        health.ready("http", server.started or "starting")
        for channel, view in views.items():
            state = view.state
            health.ready(_part(channel), state.usable or state.reason)
            server.should_exit |= view.failure is not None
        health.ready("keys", _keys_state(keys))
        health.ready("keyring", gate.keyring_state())
        await asyncio.sleep(_LOOK_SECONDS)


def _keys_state(keys: KeyFile) -> bool | str:
    try:
        keys.refresh()
    except InvalidApiKeys as error:
        return str(error)
    return True


def _view(channel: str, settings: GateSettings, codec: Codec, health: Health) -> SuppressionView:
    return SuppressionView(
        channel,
        topics=settings.topics,
        codec=codec,
        bootstrap=settings.kafka,
        stale_after=settings.gate_stale_after,
        on_turn=lambda: health.beat(_part(channel)),
    )


def _part(channel: str) -> str:
    return f"view {channel}"
