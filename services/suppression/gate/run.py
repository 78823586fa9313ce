"""Composition root of the gate: builds the views, the keys and the server, and runs them."""

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from consent_client import InvalidRegistersError, ResolvedTimestamps, SuppressionView, ViewState
from consent_client.answers import HINDRANCES
from consent_client.registers import Registers
from consent_client.registers import read as read_registers
from consent_contracts.codec import Codec
from consent_http import http_server
from consent_http.api_keys import KeyFile
from consent_http.rate_limits import RateLimits, RateMetrics
from consent_kafka import provisioning
from consent_kafka.registry import connect_codec
from consent_privacy.keyring import Keyring
from consent_service import startup
from consent_service.clock import MAX_CLOCK_LEAD_MICROS
from consent_service.health import Health
from consent_service.secret_files import SecretFile, SecretWatch
from suppression.gate.allow_once import AllowOnceApi
from suppression.gate.app import Gate, create_app
from suppression.gate.metrics import GateMetrics, RegisterMetrics, ViewMetrics
from suppression.gate.settings import GateSettings

log = logging.getLogger(__name__)

REQUESTS_SECONDS = 10
"""For the requests under way when the process is asked to end."""
_LOOK_SECONDS = 0.5
_TIMESTAMPS = "resolved timestamps"


class _Readers(NamedTuple):
    """What reads Kafka: a view for each channel, and the timestamps that they share."""

    views: Mapping[str, SuppressionView]
    timestamps: ResolvedTimestamps

    @property
    def failed(self) -> bool:
        """Whether one of the threads has ended by a fault of ours."""
        return self.timestamps.failure is not None or any(view.failure is not None for view in self.views.values())


class _Secrets(NamedTuple):
    """Files that may change while the gate runs."""

    keyring: SecretFile[Keyring]
    api_keys: KeyFile


def run_gate(settings: GateSettings) -> int:
    """Answer until SIGTERM or SIGINT, then finish what is under way (0); 1 when a view has failed.

    Raises InvalidApiKeysError, InvalidRegistersError and InvalidJwksError, and TopicMismatchError or LinkRefusedError
    as soon as the broker has said so: until then every answer is no.
    """
    # While a bulk change streams in, the reading threads would keep the interpreter for 5 ms at a time, several
    # times in one request.
    sys.setswitchinterval(0.0005)
    startup.require_address("CONSENT_RELAY_GATE", settings.gate_host, settings.gate_port)
    registry = CollectorRegistry()
    health = Health(expected=["http", _TIMESTAMPS, *(_health_name(channel) for channel in settings.channels)])
    metrics_server = startup.serve_pages(settings, registry, health)
    keyring = startup.keyring_file(settings, hash_only=True)
    keys = KeyFile(settings.gate_keys_file)
    watch = startup.watch_secrets(settings, registry, health, keyring, keys.file)
    registers = _registers(settings, registry, watch)
    codec = connect_codec(settings)
    timestamps = ResolvedTimestamps(
        topics=settings.topics,
        codec=codec,
        bootstrap=settings.kafka,
        client_config=settings.kafka_client,
        on_turn=lambda: health.heartbeat(_TIMESTAMPS),
    )
    views = {channel: _view(channel, settings, codec, timestamps, health) for channel in settings.channels}
    registry.register(ViewMetrics(views.values()))
    metrics = GateMetrics.on(registry, channels=settings.channels)
    gate = Gate(
        views=views,
        keyring=keyring.value,
        keys=keys,
        metrics=metrics,
        default_region=settings.default_region,
        unknown=settings.unknown,
        limits=RateLimits(
            settings.rates, metrics=RateMetrics.on(registry, tenants=keyring.value.tenants, budgets=settings.rates)
        ),
        allow_once=AllowOnceApi(settings.gate_api_url) if settings.gate_api_url is not None else None,
        access_tokens=settings.access_tokens(registry, watch, tenants=lambda: keyring.value.tenants),
        registers=registers,
    )
    server = http_server.Server(
        http_server.config(
            create_app(gate, metrics, docs=settings.gate_docs),
            host=settings.gate_host,
            port=settings.gate_port,
            grace_seconds=REQUESTS_SECONDS,
        ),
        shutdown_delay=settings.gate_shutdown_delay,
        on_stopping=lambda: health.set_ready("http", "stopping"),
    )
    try:
        return asyncio.run(_serve(server, gate, _Readers(views, timestamps), _Secrets(keyring, keys), health, settings))
    finally:
        watch.close()
        timestamps.close()
        for view in views.values():
            view.close()
        metrics_server.close()


async def _serve(
    server: http_server.Server,
    gate: Gate,
    readers: _Readers,
    secrets: _Secrets,
    health: Health,
    settings: GateSettings,
) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.stop)
    monitoring = asyncio.create_task(_monitor(server, gate, readers, secrets, health))
    starting = asyncio.create_task(_wait_for_topics_then_start(server, readers, health, settings))
    try:
        await server.serve()
    finally:
        monitoring.cancel()
        starting.cancel()
    if starting.done() and not starting.cancelled():
        starting.result()
    return 1 if readers.failed else 0


async def _wait_for_topics_then_start(
    server: http_server.Server, readers: _Readers, health: Health, settings: GateSettings
) -> None:
    """Begin to read once the broker has said that the topics are as wanted; end the process when they are not."""
    topics = settings.topics
    read = [topics.resolved, *map(topics.suppression, readers.views)]
    stop = threading.Event()

    def waiting(reason: str) -> None:
        for part in (_TIMESTAMPS, *map(_health_name, readers.views)):
            health.heartbeat(part)
        if reason:
            health.set_ready("topics", reason)

    try:
        await asyncio.to_thread(provisioning.wait_for_topics, settings, read, stop=stop, waiting=waiting)
        health.set_ready("topics")
        readers.timestamps.start()
        for view in readers.views.values():
            view.start()
    except BaseException:
        stop.set()
        server.should_exit = True
        raise


def _why_unusable(state: ViewState) -> str:
    causes = "; ".join(HINDRANCES[stage] for stage in state.hindrances)
    return f"{state.reason} ({causes})" if causes else state.reason


async def _monitor(
    server: http_server.Server, gate: Gate, readers: _Readers, secrets: _Secrets, health: Health
) -> None:
    """Report on the health page how the parts are; end the process when one of them is broken beyond repair."""
    usable = dict.fromkeys(readers.views, False)
    while not server.should_exit:
        health.heartbeat("http")
        if not server.is_stopping:
            health.set_ready("http", server.started or "starting")
        for channel, view in readers.views.items():
            state = view.state
            health.set_ready(_health_name(channel), state.usable or _why_unusable(state))
            if state.usable != usable[channel]:
                usable[channel] = state.usable
                _log_change(channel, state)
        health.set_ready(_TIMESTAMPS, readers.timestamps.failure is None or "failed")
        health.set_ready("clock", _clock_state(readers.timestamps.clock_lead))
        server.should_exit |= readers.failed
        health.set_ready("keys", secrets.api_keys.file.error or True)
        gate.use(secrets.keyring.value)
        # Not its readiness: it answers for the other tenants.
        lacking = gate.keyring_state()
        health.note("keyring", "" if lacking is True else str(lacking))
        await asyncio.sleep(_LOOK_SECONDS)


def _log_change(channel: str, state: ViewState) -> None:
    if state.usable:
        log.info("the list can be answered from", extra={"channel": channel, "entries": state.entries})
    else:
        log.warning("the list cannot be answered from", extra={"channel": channel, "why": _why_unusable(state)})


def _clock_state(lead: int | None) -> bool | str:
    if lead is None or abs(lead) <= MAX_CLOCK_LEAD_MICROS:
        return True
    return f"{abs(lead) / 1_000_000:.0f} s {'ahead of' if lead > 0 else 'behind'} the brokers' append times"


def _view(
    channel: str, settings: GateSettings, codec: Codec, timestamps: ResolvedTimestamps, health: Health
) -> SuppressionView:
    return SuppressionView(
        channel,
        topics=settings.topics,
        codec=codec,
        bootstrap=settings.kafka,
        client_config=settings.kafka_client,
        timestamps=timestamps,
        limits=settings.limits,
        on_turn=lambda: health.heartbeat(_health_name(channel)),
    )


def _registers(settings: GateSettings, registry: CollectorRegistry, watch: SecretWatch) -> Callable[[], Registers]:
    """Those of the moment. Raises InvalidRegistersError for a file that cannot be used at the start; later the one
    before stays in use, whose limits end by themselves."""
    path = settings.gate_registers_file
    if path is None:
        return Registers
    file = SecretFile("registers", [path], lambda: read_registers(path), errors=(InvalidRegistersError,))
    watch.follow(file)
    registry.register(RegisterMetrics(lambda: file.value))
    return lambda: file.value


def _health_name(channel: str) -> str:
    return f"view {channel}"
