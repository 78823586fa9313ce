"""The settings of this service's processes."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr, field_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from consent_runtime.settings import ProcessSettings, RelaySettings

_DATABASE = "postgresql://role:password@host:port/database of a role that `consent-relay migrate` created"


def _url(value: SecretStr) -> URL:
    """With psycopg 3 as the driver, whatever driver the setting names."""
    return make_url(value.get_secret_value()).set(drivername="postgresql+psycopg")


def _checked(value: SecretStr) -> SecretStr:
    try:
        url = make_url(value.get_secret_value())
    except ArgumentError:
        raise ValueError("is no database URL") from None
    if url.get_backend_name() != "postgresql" or not url.username:
        raise ValueError("must be a postgresql:// URL that names a role")
    return value


class LedgerSettings(ProcessSettings):
    """Every process that uses the ledger."""

    service: ClassVar[str] = "consent-api"

    api_database: SecretStr = Field(description=_DATABASE)

    _check_database = field_validator("api_database")(_checked)

    @property
    def database(self) -> URL:
        return _url(self.api_database)


class DatabaseSettings(LedgerSettings, RelaySettings):
    """Every process of this service that also reads or hides addresses."""

    api_database_pool: int = Field(8, ge=1, le=100, description="connections to the database, at most")


class ApiSettings(DatabaseSettings):
    """`consent-relay api`."""

    api_host: str = Field("127.0.0.1", description="address on which the HTTP API listens")
    api_port: int = Field(8080, ge=0, le=65535, description="port of the HTTP API; 0: any free one")
    api_max_body: int = Field(1_048_576, ge=1024, description="longest request body in bytes; longer ones get 413")
    api_threads: int = Field(
        8, ge=1, le=200, description="requests worked on at once, a quarter of them bulk; no more than connections"
    )
    metrics_port: int = Field(9464, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0: any")


class OwnerSettings(ProcessSettings):
    """`consent-relay migrate` and `keys`: run by an operator, as the owner of the database."""

    service: ClassVar[str] = "consent-api-owner"

    api_database_owner: SecretStr = Field(
        description="postgresql://owner:password@host:port/database of a role that may create tables and roles"
    )

    _check_owner = field_validator("api_database_owner")(_checked)

    @property
    def owner(self) -> URL:
        return _url(self.api_database_owner)


class MigrateSettings(OwnerSettings):
    """`consent-relay migrate`: also creates the role that the services use, with the password given here."""

    api_database: SecretStr = Field(description="postgresql://role:password@host:port/database for the services")

    _check_database = field_validator("api_database")(_checked)

    @property
    def database(self) -> URL:
        return _url(self.api_database)
