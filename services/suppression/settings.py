"""The settings of the merge."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from consent_service.settings import KeyringSettings


class SuppressionSettings(KeyringSettings):
    """`CONSENT_RELAY_...`; fields of this service alone begin with its name."""

    service: ClassVar[str] = "suppression"

    metrics_port: int = Field(9465, ge=0, le=65535, description="port of /metrics and the health pages; 0: any")
    suppression_session_timeout: float = Field(
        8.0, ge=6, le=10, description="seconds without a sign of life after which another worker takes over"
    )
    suppression_transaction_timeout: float = Field(
        10.0,
        ge=2,
        le=60,
        description="seconds after which the broker aborts a transaction that a dead worker left open",
    )
