"""What a process opens before it begins. What cannot be opened ends it with code 2, as a wrong setting does in
`settings.load` and a wrong topic in `provision.require_topics`: a line on standard error names the setting and the
cure."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import TYPE_CHECKING

from consent_service.exits import exit_with_errors

if TYPE_CHECKING:
    from consent_privacy.keyring import Keyring
    from consent_service.settings import KeyringSettings, ProcessSettings


log = logging.getLogger(__name__)


def begin_logs(settings: ProcessSettings) -> None:
    """Configure the logs of a process and write its first line: its version, its topics, and the settings that differ
    from the defaults, without secrets."""
    from consent_service import json_logs

    json_logs.configure(settings.log_level, settings.service)
    log.info(
        "starting",
        extra={
            "version": version("consent-relay"),
            "settings": {name: str(getattr(settings, name)) for name in sorted(settings.model_fields_set)},
            "topics": [spec.name for spec in settings.topics.specs(settings.partitions)],
        },
    )


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
    from consent_privacy.errors import InvalidKeyringError
    from consent_privacy.keyring import Keyring

    try:
        return Keyring.load(settings.keyring_file)
    except InvalidKeyringError as error:
        exit_with_errors([f"CONSENT_RELAY_KEYRING_FILE: {error}"])
