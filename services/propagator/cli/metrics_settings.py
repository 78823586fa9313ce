"""Where the propagator's metrics are."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from consent_service.settings import ProcessSettings
from propagator.settings import PropagatorSettings


class MetricsSettings(ProcessSettings):
    """Those of the propagator's settings that are needed to read its metrics: no keyring and no file."""

    service: ClassVar[str] = PropagatorSettings.service

    metrics_port: int = Field(
        PropagatorSettings.model_fields["metrics_port"].default, ge=1, le=65535, description="port of /metrics"
    )
