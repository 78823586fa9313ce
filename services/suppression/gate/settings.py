"""The settings of the gate."""

from collections.abc import Mapping
from typing import ClassVar, cast
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from consent_client.answers import Policy
from consent_http.rates import Rates
from consent_http.token_settings import AccessTokenSettings
from consent_kafka.resolved import StalenessLimits
from consent_service.settings import KeyringSettings, ReadableFile

REQUESTS, ADDRESSES = "requests", "addresses"
"""Budgets of the gate."""


class GateSettings(KeyringSettings, AccessTokenSettings):
    """`CONSENT_RELAY_...`; fields of the gate alone begin with its name."""

    service: ClassVar[str] = "gate"

    metrics_port: int = Field(9468, ge=0, le=65535, description="port of /metrics and the health pages; 0: any")
    gate_host: str = Field("127.0.0.1", description="address on which the gate answers")
    gate_port: int = Field(8082, ge=0, le=65535, description="port on which the gate answers; 0: any")
    gate_keys_file: ReadableFile = Field(
        description="file of API key digests that `consent-relay keys export --scope check` writes"
    )
    gate_registers_file: ReadableFile | None = Field(
        None,
        description="file that `consent-relay registers export` writes: where a register in it is too old, no address"
        " of its channels may be contacted for its purposes. Unset: no register is looked at",
    )
    gate_shutdown_delay: float = Field(
        5.0,
        ge=0,
        le=60,
        description="seconds for which it goes on answering after SIGTERM, not ready, until"
        " load balancers send it no more",
    )
    gate_docs: bool = Field(
        True, description="whether the gate describes itself at /docs and /openapi.json, to anybody"
    )
    gate_unknown: str = Field(
        "deny",
        description="answer where no decision is known, deny or allow, by channel where they differ: deny,voice=allow",
    )
    gate_stale_after: float = Field(
        30.0,
        ge=1,
        le=300,
        description="seconds that the ledger in the list may be old, for live decisions, before addresses are denied",
    )
    gate_inbound_stale_after: float = Field(
        60.0, ge=1, le=3_600, description="the same for submissions on the live inbound topic"
    )
    gate_bulk_stale_after: float = Field(900.0, ge=1, le=86_400, description="the same for decisions recorded in bulk")

    gate_api_url: str | None = Field(
        None,
        description="URL of the API, which decides whether an allow_once token is good; without it none is",
    )

    gate_key_request_rate: float = Field(
        500.0,
        ge=0,
        description="requests a second of one API key, at one process, on average over 10 s; more are answered 429."
        " 0: no limit",
    )
    gate_tenant_request_rate: float = Field(1_000.0, ge=0, description="the same, of all API keys of a tenant")
    gate_key_address_rate: float = Field(50_000.0, ge=0, description="addresses a second, of one API key")
    gate_tenant_address_rate: float = Field(100_000.0, ge=0, description="the same, of all API keys of a tenant")

    @field_validator("gate_api_url")
    @classmethod
    def _api(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "http://none")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError("requires the URL of the API, such as http://api:8080")
        return url or None

    @field_validator("gate_unknown")
    @classmethod
    def _policies(cls, text: str) -> str:
        for part in text.split(","):
            if part.strip().rpartition("=")[2].strip() not in ("allow", "deny"):
                raise ValueError("requires deny or allow, or a list such as deny,voice=allow")
        return text

    @property
    def limits(self) -> StalenessLimits:
        return StalenessLimits(
            live=_micros(self.gate_stale_after),
            inbound=_micros(self.gate_inbound_stale_after),
            bulk=_micros(self.gate_bulk_stale_after),
        )

    @property
    def rates(self) -> Mapping[str, Rates]:
        return {
            REQUESTS: Rates(per_key=self.gate_key_request_rate, per_tenant=self.gate_tenant_request_rate),
            ADDRESSES: Rates(per_key=self.gate_key_address_rate, per_tenant=self.gate_tenant_address_rate),
        }

    def unknown(self, channel: str) -> Policy:
        """The policy of one channel: its own, else the one without a channel, else deny."""
        policies = {}
        for part in self.gate_unknown.split(","):
            name, _, policy = part.strip().rpartition("=")
            policies[name.strip()] = cast(Policy, policy.strip())
        return policies.get(channel, policies.get("", "deny"))


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)
