"""The settings of the lag process."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from consent_service.settings import ProcessSettings


class LagSettings(ProcessSettings):
    """`CONSENT_RELAY_...`; it needs the broker, and the registry once, to measure how old the list is."""

    service: ClassVar[str] = "lag"

    metrics_port: int = Field(9470, ge=0, le=65535, description="port of /metrics and the health pages; 0: any")
    lag_interval: float = Field(2.0, ge=0.2, le=60, description="seconds between two reads of the broker")
