"""The settings of the propagator."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from consent_service.settings import KeyringSettings, ReadableFile


class PropagatorSettings(KeyringSettings):
    """`CONSENT_RELAY_...`; fields of this service alone begin with its name."""

    service: ClassVar[str] = "propagator"

    metrics_port: int = Field(9469, ge=0, le=65535, description="port of /metrics and the health pages; 0: any")
    propagator_name: str = Field(
        "default",
        description="which of CONSENT_RELAY_PROPAGATORS this is; processes of one name take over from another",
    )
    propagator_destinations: ReadableFile = Field(
        description="path of the destinations file (YAML): which tool is sent what"
    )
    propagator_session_timeout: float = Field(
        8.0, ge=6, le=10, description="seconds without a sign of life after which another worker takes over"
    )

    propagator_permission_max_age: float = Field(
        5.0, gt=0, le=30, description="seconds by which the list may lag the ledger before no permission is sent"
    )
    propagator_stale_after: float = Field(
        30.0, gt=0, description="age in seconds of the list, for live decisions, beyond which no permission is sent"
    )
    propagator_inbound_stale_after: float = Field(
        60.0, gt=0, description="age in seconds of what was recorded of consent.inbound.v1 beyond which none is sent"
    )
    propagator_bulk_stale_after: float = Field(
        900.0, gt=0, description="age in seconds of the list, for bulk decisions, beyond which no permission is sent"
    )

    @model_validator(mode="after")
    def _is_one_of_the_propagators(self) -> Self:
        if self.propagator_name not in self.propagators:
            raise ValueError(
                f"CONSENT_RELAY_PROPAGATOR_NAME {self.propagator_name} is not in CONSENT_RELAY_PROPAGATORS:"
                " add it there, and run `topics apply`"
            )
        return self
