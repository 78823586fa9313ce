"""docker-compose.yml as it is read without an engine."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import yaml

from tests.support.deployed import ROOT, image_environment

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("consent-relay")}


def text_of(value: str) -> str:
    """`${NAME:-default}` as Compose would write it where NAME is not set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)


def environment(service: str) -> dict[str, str]:
    """What the process is given, the image's own variables included."""
    own = {name: text_of(value) for name, value in OURS[service].get("environment", {}).items()}
    return {**image_environment(), **own}


def seconds(duration: str) -> float:
    """Of `90s`, or `2m`."""
    number, unit = int(duration[:-1]), duration[-1]
    return timedelta(**{{"s": "seconds", "m": "minutes"}[unit]: number}).total_seconds()
