"""What a process opens before it begins. What cannot be opened ends it with code 2, as a wrong setting does in
`settings.load` and a wrong topic in `provision.require_topics`: a line on standard error names the setting and the
cure."""

from __future__ import annotations

import atexit
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from consent_service.exits import exit_with_errors

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from prometheus_client import CollectorRegistry

    from consent_privacy.keyring import Keyring
    from consent_service.health import Health, Server
    from consent_service.secret_files import SecretFile, SecretWatch
    from consent_service.settings import KeyringSettings, ProcessSettings


log = logging.getLogger(__name__)


def begin_logs(settings: ProcessSettings) -> None:
    """Configure the logs of a process, and where its spans go, and write its first line: its version, its topics, and
    the settings that differ from the defaults, without secrets."""
    from consent_service import json_logs

    json_logs.configure(settings.log_level, settings.service)
    if settings.traces_endpoint is not None:
        _begin_spans(settings, settings.traces_endpoint)
    log.info(
        "starting",
        extra={
            "version": version("consent-relay"),
            "settings": {name: str(getattr(settings, name)) for name in sorted(settings.model_fields_set)},
            "topics": [spec.name for spec in settings.topics.specs(settings.partitions)],
        },
    )


def _begin_spans(settings: ProcessSettings, endpoint: str) -> None:
    from consent_service import spans
    from consent_service.errors import InvalidSettingsError

    try:
        spans.start(endpoint, settings.service, settings.instance_id)
    except InvalidSettingsError as error:
        exit_with_errors(error.problems)
    atexit.register(spans.close)


def serve_pages(settings: ProcessSettings, registry: CollectorRegistry, health: Health) -> Server:
    """/metrics and the health pages, where the settings say."""
    from consent_service.health import serve_metrics

    with _listening("CONSENT_RELAY_METRICS", settings.metrics_host, settings.metrics_port):
        return serve_metrics(registry, health, settings.metrics_host, settings.metrics_port)


def require_address(setting: str, host: str, port: int) -> None:
    """Ends the process where it cannot listen at this address, before it waits for other servers. ``setting``: what the
    names of the two variables begin with."""
    with _listening(setting, host, port):
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # As the servers do: past those that end.
            tried.bind(address)


@contextmanager
def _listening(setting: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"{host}:{port} cannot be listened at ({error.strerror})"
        exit_with_errors([f"{setting}_HOST, {setting}_PORT: {why}. Set another one; the port 0 is any free one."])


def keyring(settings: KeyringSettings) -> Keyring:
    """The keyring of this installation, for a command that seals or opens."""
    return keyring_file(settings).value


def keyring_file(settings: KeyringSettings, *, hash_only: bool = False) -> SecretFile[Keyring]:
    """The keyring of a process, read again when it changes.

    With `hash_only`, for one that only hashes: without seal keys, whatever the file holds. Else it has to have them.
    """
    from consent_privacy.errors import InvalidKeyringError
    from consent_privacy.keyring import Keyring
    from consent_service.secret_files import SecretFile

    path = settings.keyring_file
    before: Keyring | None = None

    def read() -> Keyring:
        nonlocal before
        found = Keyring.load(path)
        if hash_only:
            _warn_of_seal_keys(found, path)
            found = found.export(found.tenants, hash_only=True)
        elif not found.seal_keys:
            raise InvalidKeyringError(f"{path} has hash keys only: this process needs seal keys")
        if before is not None:
            before.require_successor(found)
        before = found
        return found

    try:
        return SecretFile("keyring", [path], read, errors=(InvalidKeyringError,))
    except InvalidKeyringError as error:
        exit_with_errors([f"CONSENT_RELAY_KEYRING_FILE: {error}"])


def _warn_of_seal_keys(found: Keyring, path: Path) -> None:
    if found.seal_keys:
        log.warning(
            "the keyring holds seal keys, which this process does not need: give it what"
            " `consent-relay keyring export --hash-only` writes",
            extra={"keyring": str(path)},
        )


def watch_secrets(
    settings: ProcessSettings, registry: CollectorRegistry, health: Health, *files: SecretFile[Any]
) -> SecretWatch:
    """Read these again when they change, and report on them and on the certificates of the connections, until the watch
    is closed."""
    from consent_service.secret_files import SecretWatch

    watch = SecretWatch(registry, health)
    watch.follow(*files)
    for name, path in settings.certificate_files.items():
        watch.certificate(name, path)
    for name, path in settings.authority_files.items():
        watch.authorities(name, path)
    watch.start()
    return watch
