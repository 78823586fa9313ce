"""The checks of Kafka and of the registry: of the entry point `kafka`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from cryptography import x509

from consent_kafka import access
from consent_kafka.doctor import brokers
from consent_kafka.doctor.topics import REGISTRY, TOPICS, judge_schemas, judge_topics
from consent_kafka.errors import ProvisionError
from consent_kafka.provisioning import provisioner, require_access
from consent_service.doctor.certificates import Certificate, certificate_end, judge_certificates
from consent_service.doctor.findings import Check, CheckContext, Finding, Result, readable
from consent_service.errors import LinkRefusedError
from consent_service.settings import ProcessSettings, settings_classes

_CERTIFICATES = "certificates of servers"
_HANDSHAKE_SECONDS = 5.0


def checks(context: CheckContext) -> list[Check]:
    """Brokers, topics, access, registry, and the certificates that these servers show."""
    settings = readable(ProcessSettings)
    if settings is None:
        wrong = Finding(
            name=brokers.NAME, result=Result.NOT_CHECKED, found="the settings are wrong", cure="mend them first"
        )
        return [Check(name=brokers.NAME, find=lambda: [wrong])]
    processes = [name for name in settings_classes() if name in access.PROCESSES and context.concerns(name)]
    found = [Check(name=REGISTRY, find=lambda: _schemas(settings))]
    if processes:  # The API process uses no Kafka.
        only = [topic for process in processes for topic in _compared(process)] if context.processes else None
        found += [
            Check(
                name=brokers.NAME,
                find=lambda: brokers.find_brokers(settings.kafka, settings.kafka_client),
                seconds=brokers.SECONDS,
            ),
            Check(name=TOPICS, find=lambda: _topics(settings, only), after=(brokers.NAME,)),
            Check(name="access to Kafka", find=lambda: _access(settings, processes, context), after=(brokers.NAME,)),
        ]
    found.append(Check(name=_CERTIFICATES, find=lambda: _server_certificates(settings)))
    return found


def _compared(process: str) -> list[str]:
    """The topics whose settings the user of this process may read."""
    own = readable(settings_classes()[process])
    if own is None:
        return []
    # A propagator needs the lists of its own destinations alone.
    left = {own.topics.suppression(channel) for channel in own.topics.channels} if process == "propagator" else set()
    acls = access.required(process, own.topics, propagator=str(getattr(own, "propagator_name", "default")))
    return [acl.name for acl in acls if "DescribeConfigs" in acl.operations and acl.name not in left]


def _topics(settings: ProcessSettings, only: Sequence[str] | None) -> Sequence[Finding]:
    asking = provisioner(settings, wait_seconds=0)
    try:
        return judge_topics(asking.topic_differences(only), asking.partitions(only))
    except ProvisionError as error:
        return [_unanswered(TOPICS, error)]


def _schemas(settings: ProcessSettings) -> Sequence[Finding]:
    try:
        return judge_schemas(provisioner(settings, wait_seconds=0).schema_differences())
    except ProvisionError as error:
        return [_unanswered(REGISTRY, error)]


def _unanswered(name: str, error: ProvisionError) -> Finding:
    found, _, cure = str(error).partition("; ")
    return Finding(name=name, result=Result.FAULT, found=found, cure=cure)


def _access(settings: ProcessSettings, processes: Sequence[str], context: CheckContext) -> list[Finding]:
    """Whether the Kafka user of this environment may do what each process needs: all of those that were asked about,
    else those that this environment has the settings of."""
    found = []
    for process in processes:
        own = readable(settings_classes()[process])
        if own is None:
            continue
        name = f"access of {process}"
        try:
            require_access(own, process, _compared(process) if process == "propagator" else None)
        except LinkRefusedError as error:
            required = process in context.processes
            found.append(
                Finding(
                    name=name,
                    result=Result.FAULT if required else Result.WARNING,
                    found=str(error),
                    cure="" if required else f"if it has a user of its own, check as that: doctor --process {process}",
                )
            )
        except ProvisionError as error:
            found.append(Finding(name=name, result=Result.NOT_CHECKED, found=str(error)))
        else:
            granted = f"{settings.kafka_user} may do all that it needs"
            found.append(Finding(name=name, result=Result.OK, found=granted))
    return found


def _server_certificates(settings: ProcessSettings) -> Sequence[Finding]:
    certificates: list[Certificate] = []
    unanswered = []
    for where, host, port in _tls_servers(settings):
        try:
            certificates.append(server_certificate(where, host, port))
        except OSError as error:
            # One that cannot be reached is a finding of its own check.
            found = f"{where} showed none ({type(error).__name__})"
            unanswered.append(Finding(name=_CERTIFICATES, result=Result.NOT_CHECKED, found=found))
    if unanswered and not certificates:
        return unanswered
    return [*judge_certificates(_CERTIFICATES, certificates), *unanswered]


def _tls_servers(settings: ProcessSettings) -> Iterator[tuple[str, str, int]]:
    if settings.kafka_security_protocol.endswith("SSL"):
        for address in map(str.strip, settings.kafka.split(",")):
            host, _, port = address.rpartition(":")
            yield f"Kafka at {address}", host.strip("[]"), int(port)
    registry = urlsplit(settings.registry)
    if registry.scheme == "https" and registry.hostname:
        yield f"the registry at {settings.registry}", registry.hostname, registry.port or 443


def server_certificate(where: str, host: str, port: int) -> Certificate:
    """That which a server shows. Nothing is sent, so it need not be trusted. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=_HANDSHAKE_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
    return certificate_end(where, [x509.load_der_x509_certificate(shown)] if shown else [])
