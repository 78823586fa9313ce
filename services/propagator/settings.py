"""What the propagator is told at start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from consent_runtime.settings import RelaySettings


class PropagatorSettings(RelaySettings):
    """`CONSENT_RELAY_...`; fields of this service alone begin with its name."""

    service: ClassVar[str] = "propagator"

    metrics_port: int = Field(9469, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0: any")
    propagator_destinations: Path = Field(description="path of the destinations file (YAML): who is told what")
    propagator_session_timeout: float = Field(
        8.0, ge=6, le=10, description="seconds without a sign of life after which another worker takes over"
    )

    @field_validator("propagator_destinations")
    @classmethod
    def _readable_destinations(cls, path: Path) -> Path:
        if not os.access(path, os.R_OK):
            raise ValueError("names a file that is missing or cannot be read by this user")
        return path
