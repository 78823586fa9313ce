"""The message for a server that refuses this process, or that this process refuses: it names the setting to correct,
and no secret."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from consent_service.errors import LinkRefusedError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from consent_contracts.errors import RegistryRefusedError

_GROUP = "CONSENT_RELAY_KAFKA_"
_REGISTRY = "CONSENT_RELAY_REGISTRY"
# What librdkafka writes where the two sides speak different protocols, where the broker ends a handshake, and as the
# address in front of an error.
_WRONG_PROTOCOL = ("incorrect security.protocol", "PLAINTEXT broker listener")
_ALERT = "SSL alert number"
_BROKER = re.compile(r"s(?:asl_s)?sl://(?P<host>[^/]+):(?P<port>[0-9]+)/")
_HANDSHAKE_SECONDS = 5.0


def kafka_refusal(
    bootstrap: str, client_config: Mapping[str, Any], errors: Iterable[KafkaError]
) -> LinkRefusedError | None:
    """The message where `errors`, which librdkafka reported while no request was answered, do not pass by themselves;
    None where they may: no connection, a broker that starts or stops. May look at a broker's certificate."""
    for error in errors:
        text = error.str()
        if any(each in text for each in _WRONG_PROTOCOL):
            setting = f"{_GROUP}SECURITY_PROTOCOL"
        elif error.name() == "_AUTHENTICATION":
            setting = f"{_GROUP}SASL_USERNAME, {_GROUP}SASL_PASSWORD"
            if "mechanism" in text and "nsupported" in text:
                setting = f"{_GROUP}SASL_MECHANISM"
        elif _ALERT in text:
            setting = f"{_GROUP}SSL_CERTIFICATE_FILE"
        elif error.name() == "_SSL":
            # librdkafka has one text for all that can be wrong with a certificate.
            fault = _certificate_fault(text, client_config)
            setting, text = _of_certificate(fault, "CONSENT_RELAY_KAFKA", f"{_GROUP}SSL_CA_FILE"), fault or text
        else:
            continue
        return LinkRefusedError(f"{setting}: Kafka at {bootstrap}: {text}")
    # A broker that expects TLS ends other connections without a word.
    if not str(client_config.get("security.protocol", "PLAINTEXT")).endswith("SSL"):
        for address in map(str.strip, bootstrap.split(",")):
            if _speaks_tls(address):
                return LinkRefusedError(
                    f"{_GROUP}SECURITY_PROTOCOL: Kafka at {address} expects TLS: set SASL_SSL or SSL"
                )
    return None


def _speaks_tls(address: str) -> bool:
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # Nothing is sent.
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_HANDSHAKE_SECONDS) as connection,
            context.wrap_socket(connection),
        ):
            return True
    except (OSError, ValueError):
        return False


def _certificate_fault(text: str, client_config: Mapping[str, Any]) -> str:
    """Why the certificate of the broker that librdkafka's `text` names is refused; empty where that is not known."""
    named = _BROKER.search(text)
    if named is None:
        return ""
    context = ssl.create_default_context(cafile=client_config.get("ssl.ca.location"))
    host = named["host"].strip("[]")
    try:
        with (
            socket.create_connection((host, int(named["port"])), timeout=_HANDSHAKE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:
        return ""


def _of_certificate(fault: str, address: str, authority: str) -> str:
    """Which setting a certificate's fault is about: that of the server's address, or that of its authority."""
    if "mismatch" in fault:
        return f"{address} (a name that the server's certificate does not have)"
    if "expired" in fault or "not yet valid" in fault:
        return f"{address} (the server's certificate is not valid now: renew it, or correct a clock)"
    return authority


def registry_refusal(url: str, error: RegistryRefusedError) -> LinkRefusedError:
    """The message for a registry that refuses us, or that we refuse."""
    if error.credentials:
        setting = f"{_REGISTRY}_USERNAME, {_REGISTRY}_PASSWORD"
    elif "alert" in str(error).lower():
        setting = f"{_REGISTRY}_SSL_CERTIFICATE_FILE"
    else:
        setting = _of_certificate(str(error), _REGISTRY, f"{_REGISTRY}_SSL_CA_FILE")
    return LinkRefusedError(f"{setting}: the registry at {url}: {error}")
