"""What a process opens before it begins. What cannot be opened ends it with code 2, as a wrong setting does in
`settings.load` and a wrong topic in `provision.require_topics`: a line on standard error names the setting and the
cure."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn

from .refusals import registry_refusal

if TYPE_CHECKING:
    from consent_contracts.codec import Codec

    from .keyring import Keyring
    from .settings import KeyringSettings, ProcessSettings


log = logging.getLogger(__name__)


def begin_logs(settings: ProcessSettings) -> None:
    """Configure the logs of a process and write its first line: its version, its topics, and the settings that differ
    from the defaults, without secrets."""
    from . import logs

    logs.configure(settings.log_level, settings.service)
    log.info(
        "starting",
        extra={
            "version": version("consent-relay"),
            "settings": {name: str(getattr(settings, name)) for name in sorted(settings.model_fields_set)},
            "topics": [spec.name for spec in settings.topics.specs(settings.partitions)],
        },
    )


def exit_with_errors(lines: Iterable[str]) -> NoReturn:
    """Say each of these lines and exit with code 2."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    raise SystemExit(2)


def keyring(settings: KeyringSettings) -> Keyring:
    """The keyring of this installation, for a process that seals or opens."""
    found = _keyring(settings)
    if not found.seal_keys:
        exit_with_errors(
            [f"CONSENT_RELAY_KEYRING_FILE: {settings.keyring_file} has hash keys only: this process needs seal keys"]
        )
    return found


def hash_keys(settings: KeyringSettings) -> Keyring:
    """The keyring of a process that only hashes: without seal keys, whatever the file holds."""
    found = _keyring(settings)
    if found.seal_keys:
        log.warning(
            "the keyring holds seal keys, which this process does not need: give it what"
            " `consent-relay keyring export --hash-only` writes",
            extra={"keyring": str(settings.keyring_file)},
        )
    return found.export(found.tenants, hash_only=True)


def _keyring(settings: KeyringSettings) -> Keyring:
    from .keyring import InvalidKeyringError, Keyring

    try:
        return Keyring.load(settings.keyring_file)
    except InvalidKeyringError as error:
        exit_with_errors([f"CONSENT_RELAY_KEYRING_FILE: {error}"])


def codec(settings: ProcessSettings, *, wait_seconds: float = 60.0) -> Codec:
    """A codec that knows the schema ids. Waits up to `wait_seconds` for the registry, which may start beside us."""
    from consent_contracts.codec import Codec
    from consent_contracts.errors import NotRegisteredError, RegistryRefusedError, RegistryUnavailableError

    try:
        return Codec.connect(settings.registry, settings.topics, settings.registry_client, wait_seconds=wait_seconds)
    except RegistryRefusedError as error:
        exit_with_errors([str(registry_refusal(settings.registry, error))])
    except (NotRegisteredError, RegistryUnavailableError) as error:
        exit_with_errors([f"CONSENT_RELAY_REGISTRY: {error}"])


def lazy_codec(settings: ProcessSettings) -> Codec:
    """A codec that looks ids up when it needs them, for a process that works while the registry does not answer. A
    registry that refuses us ends it all the same."""
    from consent_contracts.codec import Codec, ConfluentRegistry
    from consent_contracts.errors import RegistryRefusedError, RegistryUnavailableError

    registry = ConfluentRegistry(settings.registry, settings.registry_client)
    with suppress(RegistryUnavailableError):
        try:
            registry.schemas_of("consent-relay")  # Any subject: the answer itself does not matter.
        except RegistryRefusedError as error:
            exit_with_errors([str(registry_refusal(settings.registry, error))])
    return Codec(registry)
