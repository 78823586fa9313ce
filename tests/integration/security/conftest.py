"""One broker with users and ACLs, and one installation behind it, for all tests here."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from consent_contracts.topics import Topics
from consent_http import api_keys
from consent_kafka import provisioning
from consent_kafka.access import COMMANDS, PROCESSES, required
from local_stack.servers import ServerEndpoints
from tests.conftest import own_database
from tests.integration.security.secured import Certificates, Secured, SecuredBroker, secured_broker
from tests.support.certificates import HERE
from tests.support.one_destination import SECRET
from tests.support.tls_fronts import postgres_front, registry_front

REGISTRY_USER = "relay"
DESTINATIONS = """\
destinations:
  - name: tool
    connector: webhook
    channel: sms
    url: {url}
    credentials: {{secret: {{env: WEBHOOK}}}}
    options: {{allow_private: true}}
    purposes: same
"""


class Tool:
    """Takes every message; `received` counts them."""

    def __init__(self) -> None:
        self.received = 0
        tool = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                tool.received += 1
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((HERE, 0), Take)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://{HERE}:{self._server.server_port}/hook"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def tool() -> Iterator[Tool]:
    with Tool() as found:
        yield found


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.create(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[SecuredBroker]:
    with secured_broker(tmp_path_factory.mktemp("secured"), certificates) as found:
        yield found


@pytest.fixture(scope="session")
def secured(
    broker: SecuredBroker,
    certificates: Certificates,
    servers: ServerEndpoints,
    keyring_file: Path,
    tool: Tool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("installation")
    topics = Topics(prefix=f"t{uuid4().hex[:8]}.", channels=("sms",))
    provisioning.apply(bootstrap=broker.internal, registry=servers.registry, topics=topics)
    passwords = {}
    for name in ("api", *PROCESSES, *COMMANDS):
        passwords[name] = broker.add_user(name)
        if name != "api":
            broker.grant(name, required(name, topics))
    _, key = api_keys.mint(tenant="acme", scopes=["check"])
    gate_keys, destinations = directory / "gate-keys.json", directory / "destinations.yaml"
    api_keys.write(gate_keys, [key])
    destinations.write_text(DESTINATIONS.format(url=tool.url))
    registry_password = secrets.token_urlsafe(12)
    with (
        own_database(servers) as url,
        registry_front(
            servers.registry, certificates.server, user=REGISTRY_USER, password=registry_password
        ) as registry,
        postgres_front(make_url(url).port or 0, certificates.server) as port,
    ):
        verified = {"sslmode": "verify-full", "sslrootcert": str(certificates.authority.file)}
        owner = make_url(url).set(host=HERE, port=port, query=verified)
        role = f"svc_{uuid4().hex[:12]}"
        service = owner.set(username=role, password=secrets.token_urlsafe(12))
        yield Secured(
            broker=broker,
            certificates=certificates,
            topics=topics,
            passwords=passwords,
            common={
                "CONSENT_RELAY_REGISTRY": registry,
                "CONSENT_RELAY_REGISTRY_USERNAME": REGISTRY_USER,
                "CONSENT_RELAY_REGISTRY_PASSWORD": registry_password,
                "CONSENT_RELAY_REGISTRY_SSL_CA_FILE": str(certificates.authority.file),
                "CONSENT_RELAY_TOPIC_PREFIX": topics.prefix,
                "CONSENT_RELAY_CHANNELS": "sms",
                "CONSENT_RELAY_KEYRING_FILE": str(keyring_file),
                "CONSENT_RELAY_GATE_KEYS_FILE": str(gate_keys),
                "CONSENT_RELAY_GATE_PORT": "0",
                "CONSENT_RELAY_API_PORT": "0",
                "CONSENT_RELAY_PROPAGATOR_DESTINATIONS": str(destinations),
                "WEBHOOK": SECRET,
            },
            database=service.render_as_string(hide_password=False),
            owner=owner.render_as_string(hide_password=False),
            registry_password=registry_password,
            directory=directory,
        )
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            if connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first():
                connection.execute(text(f"DROP OWNED BY {role}"))
                connection.execute(text(f"DROP ROLE {role}"))
        engine.dispose()
