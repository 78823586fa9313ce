"""The settings of the status page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from consent_service.settings import CommaSeparated, ProcessSettings, ReadableFile

PROCESSES = ("api", "relay", "ingest", "suppression", "gate", "propagator", "lag")
"""Whose metrics are read."""
NAMES = {"api": "api", "webhooks": "api"} | {each: each for each in PROCESSES}
"""What a target may be called, in the order of the path, with its process: an API for webhooks alone is an API."""
MOST_TARGETS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One instance of a process. ``name``: as the page calls it, of NAMES and, where there are several, a number."""

    name: str
    process: str
    url: str


class StatusSettings(ProcessSettings):
    """`CONSENT_RELAY_...`; fields of the status page alone begin with its name. It needs no Kafka and no database."""

    service: ClassVar[str] = "status"

    metrics_port: int = Field(9471, ge=0, le=65535, description="port of /metrics and the health pages; 0: any")
    status_host: str = Field("127.0.0.1", description="address on which the status page answers")
    status_port: int = Field(8083, ge=0, le=65535, description="port on which the status page answers; 0: any")
    status_url: str | None = Field(
        None,
        description="URL at which people reach the status page, without /status; with https its cookie is bound to"
        " that host",
    )
    status_keys_file: ReadableFile = Field(
        description="file of API key digests that `consent-relay keys export --scope operate` writes"
    )
    status_targets: CommaSeparated = Field(
        description="the processes whose metrics the status page shows: process=URL, comma separated, such as"
        " api=http://api:9464,relay=http://relay:9464; a process with several instances several times, or by a name"
        " that has the address of each; an API for webhooks alone as webhooks"
    )
    status_interval: float = Field(5.0, ge=1, le=5, description="seconds between two reads of all metrics")
    status_api_url: str | None = Field(
        None, description="URL of the API, which explains pasted addresses; without it none is explained"
    )

    @field_validator("status_targets")
    @classmethod
    def _known_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if not 0 < len(targets) <= MOST_TARGETS:
            raise ValueError(f"requires 1 to {MOST_TARGETS} processes, such as api=http://api:9464")
        for number, each in enumerate(targets, start=1):
            process, _, url = each.partition("=")
            if process not in NAMES:
                raise ValueError(f"process number {number} is none of {', '.join(NAMES)}")
            _require_url(url, f"process number {number}")
        if len(set(targets)) != len(targets):
            raise ValueError("names one process twice")
        return targets

    @field_validator("status_url", "status_api_url")
    @classmethod
    def _urls(cls, url: str | None) -> str | None:
        if url:
            _require_url(url, "it")
        return url.rstrip("/") if url else None

    @property
    def targets(self) -> tuple[Target, ...]:
        """In the order of the path, each with a name of its own."""
        found: dict[str, list[str]] = {name: [] for name in NAMES}
        for each in self.status_targets:
            name, _, url = each.partition("=")
            found[name].append(url.rstrip("/"))
        return tuple(
            Target(name=f"{name} {number}" if len(urls) > 1 else name, process=NAMES[name], url=url)
            for name, urls in found.items()
            for number, url in enumerate(urls, start=1)
        )


def _require_url(url: str, what: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ValueError(f"{what} requires a URL without query, such as http://api:9464")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{what} has a login in its URL, which would show up in logs")
