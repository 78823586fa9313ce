"""How this process reaches Kafka and the schema registry: one group of settings, checked here and given to each client
in its own words. `refusals` has the messages for a server that refuses the process, or that the process refuses.

Secrets are settings like others, so that `CONSENT_RELAY_..._FILE` gives them by file. They are in no message."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

_GROUP = "CONSENT_RELAY_KAFKA_"
_REGISTRY = "CONSENT_RELAY_REGISTRY"
_PEM = "path of a PEM file with"


class LinkSettings(BaseSettings):
    """Security of the connections to Kafka and to the registry. That to PostgreSQL is in its URL (sslmode)."""

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to reach Kafka: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="PLAIN (over TLS only), SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str = Field("", description="user name at Kafka, with SASL_PLAINTEXT and SASL_SSL")
    kafka_sasl_password: SecretStr = Field(SecretStr(""), description="password of that user")
    kafka_ssl_ca_file: Path | None = Field(
        None, description=f"{_PEM} the authorities that may sign the brokers' certificates; unset: the system's"
    )
    kafka_ssl_certificate_file: Path | None = Field(
        None, description=f"{_PEM} our certificate, where the brokers require one"
    )
    kafka_ssl_key_file: Path | None = Field(
        None, description=f"{_PEM} its key, unencrypted; unset: it is in the certificate's file"
    )
    registry_username: str = Field("", description="user name at the registry (HTTP Basic), with an https URL")
    registry_password: SecretStr = Field(SecretStr(""), description="password of that user")
    registry_ssl_ca_file: Path | None = Field(
        None, description=f"{_PEM} the authorities that may sign the registry's certificate; unset: Mozilla's"
    )
    registry_ssl_certificate_file: Path | None = Field(
        None, description=f"{_PEM} our certificate, where the registry requires one"
    )
    registry_ssl_key_file: Path | None = Field(
        None, description=f"{_PEM} its key, unencrypted; unset: it is in the certificate's file"
    )

    @property
    def kafka_client(self) -> dict[str, Any]:
        """The security settings of every Kafka client, by librdkafka's names; empty for PLAINTEXT."""
        protocol = self.kafka_security_protocol
        found: dict[str, Any] = {} if protocol == "PLAINTEXT" else {"security.protocol": protocol}
        if protocol.startswith("SASL"):
            found |= {
                "sasl.mechanism": self.kafka_sasl_mechanism,
                "sasl.username": self.kafka_sasl_username,
                "sasl.password": self.kafka_sasl_password.get_secret_value(),
            }
        if protocol.endswith("SSL"):
            found |= _files(self.kafka_ssl_ca_file, self.kafka_ssl_certificate_file, self.kafka_ssl_key_file)
        return found

    @property
    def registry_client(self) -> dict[str, Any]:
        """The security settings of the registry's client, by its own names."""
        found = _files(self.registry_ssl_ca_file, self.registry_ssl_certificate_file, self.registry_ssl_key_file)
        if self.registry_username:
            found["basic.auth.user.info"] = f"{self.registry_username}:{self.registry_password.get_secret_value()}"
        return found

    @property
    def certificate_files(self) -> Mapping[str, Path | None]:
        """Our certificates for the connections, by the name of each in metrics."""
        return {
            "kafka-certificate": self.kafka_ssl_certificate_file,
            "registry-certificate": self.registry_ssl_certificate_file,
        }

    @property
    def authority_files(self) -> Mapping[str, Path | None]:
        """Those of the authorities that may sign the servers' certificates, by the name of each in metrics."""
        return {"kafka-authorities": self.kafka_ssl_ca_file, "registry-authorities": self.registry_ssl_ca_file}

    @property
    def kafka_user(self) -> str:
        """As whom this process is known to Kafka, for messages."""
        if self.kafka_security_protocol.startswith("SASL"):
            return f"user {self.kafka_sasl_username}"
        return "the owner of our certificate" if self.kafka_ssl_certificate_file else "an anonymous client"

    @model_validator(mode="after")
    def _kafka_fits_together(self) -> Self:
        protocol = self.kafka_security_protocol
        credentials = bool(self.kafka_sasl_username), bool(self.kafka_sasl_password.get_secret_value())
        if protocol.startswith("SASL") and not all(credentials):
            raise ValueError(f"{_GROUP}SASL_USERNAME and {_GROUP}SASL_PASSWORD: both are required with {protocol}")
        if not protocol.startswith("SASL") and any(credentials):
            raise ValueError(
                f"{_GROUP}SECURITY_PROTOCOL: {protocol} sends no user name and password: set SASL_SSL, or unset them"
            )
        if protocol == "SASL_PLAINTEXT" and self.kafka_sasl_mechanism == "PLAIN":
            raise ValueError(
                f"{_GROUP}SASL_MECHANISM: PLAIN over SASL_PLAINTEXT sends the password in the clear: set SASL_SSL as"
                f" {_GROUP}SECURITY_PROTOCOL, or SCRAM-SHA-512"
            )
        files = self.kafka_ssl_ca_file, self.kafka_ssl_certificate_file, self.kafka_ssl_key_file
        if any(files) and not protocol.endswith("SSL"):
            raise ValueError(f"{_GROUP}SECURITY_PROTOCOL: {protocol} uses no TLS files: set SASL_SSL or SSL")
        _check_files(f"{_GROUP}SSL", *files)
        return self

    @model_validator(mode="after")
    def _registry_fits_together(self) -> Self:
        url = urlsplit(str(getattr(self, "registry", "")))
        credentials = bool(self.registry_username), bool(self.registry_password.get_secret_value())
        files = self.registry_ssl_ca_file, self.registry_ssl_certificate_file, self.registry_ssl_key_file
        if url.username is not None or url.password is not None:
            raise ValueError(f"{_REGISTRY}: holds a user name: set {_REGISTRY}_USERNAME and {_REGISTRY}_PASSWORD")
        if any(credentials) and not all(credentials):
            raise ValueError(f"{_REGISTRY}_USERNAME and {_REGISTRY}_PASSWORD: each requires the other")
        if ":" in self.registry_username:
            raise ValueError(f"{_REGISTRY}_USERNAME: HTTP Basic permits no colon in it")
        if (any(credentials) or any(files)) and url.scheme != "https":
            raise ValueError(f"{_REGISTRY}: must be an https:// URL where a password or TLS files are set")
        _check_files(f"{_REGISTRY}_SSL", *files)
        return self


def _files(ca: Path | None, certificate: Path | None, key: Path | None) -> dict[str, Any]:
    if certificate is not None and key is None:
        key = certificate
    named = {"ssl.ca.location": ca, "ssl.certificate.location": certificate, "ssl.key.location": key}
    return {name: str(path) for name, path in named.items() if path is not None}


def _check_files(group: str, ca: Path | None, certificate: Path | None, key: Path | None) -> None:
    """Raises ValueError unless they can be read as what they are said to be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        try:
            context.load_verify_locations(cafile=ca)
        except (OSError, ssl.SSLError):
            raise ValueError(f"{group}_CA_FILE: names no file with PEM certificates that can be read here") from None
    if certificate is None:
        if key is not None:
            raise ValueError(f"{group}_KEY_FILE: is of no use without {group}_CERTIFICATE_FILE")
        return
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError):  # SSLError is an OSError.
        raise ValueError(
            f"{group}_CERTIFICATE_FILE and {group}_KEY_FILE: are no PEM certificate and unencrypted key that belong"
            " together and can be read here"
        ) from None
