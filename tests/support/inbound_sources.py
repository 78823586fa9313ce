"""Signed webhooks of a tool for each purpose of the local theme, for the running system of the tests."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.support.provider_webhooks import webhook_secret

CHANNELS = ("email", "sms", "voice")
PURPOSES = ("promotions", "newsletter", "survey", "*")


def source_id(channel: str, purpose: str) -> str:
    """Of the tool whose STOP withdraws that purpose on that channel; "*": all purposes."""
    return f"{channel}-{purpose.replace('*', 'all')}"


def write(directory: Path) -> Path:
    """The file for CONSENT_RELAY_INBOUND_FILE, and the secret that its sources share beside it."""
    secret = directory / "inbound-secret"
    secret.touch(mode=0o600)
    secret.write_text(webhook_secret())
    sources = [
        {
            "id": source_id(channel, purpose),
            "provider": "generic",
            "channel": channel,
            "purposes": [purpose],
            "secrets": [{"file": str(secret)}],
        }
        for channel in CHANNELS
        for purpose in PURPOSES
    ]
    file = directory / "inbound.yaml"
    file.write_text(yaml.safe_dump({"sources": sources}))
    return file


def secret_of(file: Path) -> str:
    """The secret of the sources in the file."""
    return (file.parent / "inbound-secret").read_text()
