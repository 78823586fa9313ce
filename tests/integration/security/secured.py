"""A broker that knows users and their rights, and an installation whose processes are users of their own."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from consent_contracts.topics import Topics
from consent_kafka.access import Acl
from local_stack.ports import free_port
from local_stack.processes.supervisor import Supervisor
from local_stack.servers.kafka import Kafka
from tests.support.certificates import HERE, Authority, Identity

PLAIN_USER = "plain"
LISTENERS = {
    "good": "SASL_SSL",
    "otherhost": "SASL_SSL",
    "expired": "SASL_SSL",
    "scram": "SASL_PLAINTEXT",
    "mutual": "SSL",
}
_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_WORDS = {each.name.title().replace("_", ""): each for each in AclOperation}


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """`other` has signed none of the servers' certificates."""

    authority: Authority
    other: Authority
    server: Identity
    other_host: Identity
    expired: Identity
    client: Identity
    foreign_client: Identity

    @classmethod
    def create(cls, directory: Path) -> Certificates:
        authority, other = Authority.create(directory, "authority"), Authority.create(directory, "other")
        return cls(
            authority=authority,
            other=other,
            server=authority.sign("server"),
            other_host=authority.sign("other-host", host="broker.example"),
            expired=authority.sign("expired", days=-1),
            client=authority.sign("gate"),
            foreign_client=other.sign("foreign"),
        )


class SecuredBroker:
    """`internal` trusts every client; `at` gives the listeners of LISTENERS, which do not."""

    def __init__(self, internal: str, at: Mapping[str, str], plain_password: str) -> None:
        self.internal = internal
        self.at = at
        self.plain_password = plain_password
        self._admin = AdminClient({"bootstrap.servers": internal, "log_level": 0})

    def add_user(self, name: str) -> str:
        """Their password."""
        password = secrets.token_urlsafe(12)
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            info = ScramCredentialInfo(mechanism, 4096)
            changes = [UserScramCredentialUpsertion(name, info, password.encode())]
            for altered in self._admin.alter_user_scram_credentials(changes).values():
                altered.result(timeout=30)
        return password

    def grant(self, user: str, acls: Sequence[Acl]) -> None:
        for created in self._admin.create_acls([each for acl in acls for each in _bindings(user, acl)]).values():
            created.result(timeout=30)

    def revoke(self, user: str, acl: Acl) -> None:
        filters = [
            AclBindingFilter(
                each.restype,
                each.name,
                each.resource_pattern_type,
                each.principal,
                each.host,
                each.operation,
                each.permission_type,
            )
            for each in _bindings(user, acl)
        ]
        for deleted in self._admin.delete_acls(filters).values():
            assert deleted.result(timeout=30)

    def delete(self, topics: Topics) -> None:
        for deleted in self._admin.delete_topics([spec.name for spec in topics.specs()]).values():
            deleted.result(timeout=30)


def _bindings(user: str, acl: Acl) -> list[AclBinding]:
    pattern = ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL
    return [
        AclBinding(
            _RESOURCES[acl.resource],
            acl.name,
            pattern,
            f"User:{user}",
            "*",
            _WORDS[operation],
            AclPermissionType.ALLOW,
        )
        for operation in acl.operations
    ]


@contextmanager
def secured_broker(directory: Path, certificates: Certificates) -> Iterator[SecuredBroker]:
    """A Kafka of its own with the listeners of LISTENERS."""
    ports = {name: free_port() for name in ("internal", "controller", *LISTENERS)}
    password = secrets.token_urlsafe(12)
    identities = {
        "good": certificates.server,
        "otherhost": certificates.other_host,
        "expired": certificates.expired,
        "mutual": certificates.server,
    }
    at = {name: f"{HERE}:{ports[name]}" for name in LISTENERS}
    own = [f"{name.upper()}://{address}" for name, address in at.items()]
    internal = f"PLAINTEXT://{HERE}:{ports['internal']}"
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
    settings = {
        "listeners": ",".join([internal, *own, f"CONTROLLER://{HERE}:{ports['controller']}"]),
        "advertised.listeners": ",".join([internal, *own]),
        "listener.security.protocol.map": ",".join(f"{name.upper()}:{each}" for name, each in protocols.items()),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "ssl.principal.mapping.rules": "RULE:^CN=(.*?)$/$1/,DEFAULT",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": str(certificates.authority.file),
    }
    security = "org.apache.kafka.common.security"
    for name, protocol in LISTENERS.items():
        here = f"listener.name.{name}"
        if protocol.endswith("SSL"):
            settings[f"{here}.ssl.keystore.type"] = "PEM"
            settings[f"{here}.ssl.keystore.location"] = str(identities[name].both)
        if protocol.startswith("SASL"):
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                settings[f"{here}.{mechanism}.sasl.jaas.config"] = f"{security}.scram.ScramLoginModule required;"
            settings[f"{here}.plain.sasl.jaas.config"] = (
                f'{security}.plain.PlainLoginModule required user_{PLAIN_USER}="{password}";'
            )
    broker = Kafka(directory, ports["internal"], ports["controller"], settings)
    broker.prepare()
    supervisor = Supervisor(directory / "logs", report=lambda text: print(text, file=sys.stderr))
    supervisor.begin_layer()
    supervisor.add(broker.program(), broker.probe)
    try:
        yield SecuredBroker(broker.bootstrap, at, password)
    finally:
        supervisor.stop_all()


@dataclass(frozen=True, kw_only=True)
class Secured:
    """An installation whose links are all secured. Each process and command is a user of its own name."""

    broker: SecuredBroker
    certificates: Certificates
    topics: Topics
    passwords: Mapping[str, str]
    common: Mapping[str, str]
    """Settings that all share."""
    database: str
    owner: str
    registry_password: str
    directory: Path

    def environment(self, user: str, **changes: str) -> dict[str, str]:
        """The settings of a process or a command; `changes` go by the names of settings in lower case."""
        password_file = self.directory / f"{user}.password"
        password_file.write_text(f"{self.passwords[user]}\n")
        settings = {
            "CONSENT_RELAY_KAFKA": self.broker.at["good"],
            "CONSENT_RELAY_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "CONSENT_RELAY_KAFKA_SASL_USERNAME": user,
            "CONSENT_RELAY_KAFKA_SASL_PASSWORD_FILE": str(password_file),
            "CONSENT_RELAY_KAFKA_SSL_CA_FILE": str(self.certificates.authority.file),
            "CONSENT_RELAY_API_DATABASE": self.database,
            "CONSENT_RELAY_API_DATABASE_OWNER": self.owner,
            "CONSENT_RELAY_METRICS_PORT": "0",
            "CONSENT_RELAY_INSTANCE_ID": f"{self.topics.prefix}{user}",
            "CONSENT_RELAY_STATE_DIR": str(self.directory / "state" / user),
            **self.common,
            **{f"CONSENT_RELAY_{name.upper()}": value for name, value in changes.items()},
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_RELAY_")}
        return kept | {name: value for name, value in settings.items() if value}

    def run(self, user: str, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """`consent-relay <words>` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "consent_service", *words],
            env=self.environment(user, **changes),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=180,
            check=False,
        )

    def refused(self, process: str, *words: str, **changes: str) -> str:
        """What is said by one that ends at its start. No password is."""
        ended = self.run(process, *(words or (process,)), **changes)
        said = ended.stdout + ended.stderr
        assert ended.returncode == 2, said
        for secret in (self.passwords[process], self.registry_password, changes.get("kafka_sasl_password")):
            assert not secret or secret not in said
        return ended.stderr.splitlines()[-1]

    @contextmanager
    def running(self, process: str, **changes: str) -> Iterator[Process]:
        """A process that is ended with the block."""
        port = free_port()
        log = self.directory / f"{process}.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "consent_service", process],
                env=self.environment(process, metrics_port=str(port), **changes),
                stdout=output,
                stderr=output,
            )
        try:
            yield Process(name=process, child=child, port=port, log=log)
        finally:
            child.terminate()
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@dataclass(frozen=True, kw_only=True)
class Process:
    name: str
    child: subprocess.Popen[bytes]
    port: int
    log: Path

    def readiness(self) -> str:
        """Empty once it is ready."""
        assert self.child.poll() is None, self.log.read_text()
        try:
            answer = httpx.get(f"http://{HERE}:{self.port}/readyz", timeout=5)
        except httpx.HTTPError as error:
            return type(error).__name__
        return "" if answer.status_code == 200 else answer.text

    def certificates(self) -> dict[str, float]:
        """When each that the process uses ends, as it exports that. Unix time."""
        page = httpx.get(f"http://{HERE}:{self.port}/metrics", timeout=5).text
        found = re.findall(
            r'^consent_relay_secret_file_valid_until_timestamp_seconds{secret="(.+)"} (\S+)$', page, re.M
        )
        return {name: float(end) for name, end in found}

    def await_ready(self) -> None:
        deadline = time.monotonic() + 120
        while why := self.readiness():
            assert time.monotonic() < deadline, f"{self.name}: {why}\n{self.log.read_text()}"
            time.sleep(0.2)

    def logged(self) -> list[Any]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
