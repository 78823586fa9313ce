"""An installation that is right."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient
from sqlalchemy import URL, Engine, create_engine, make_url, text

from consent_api.ledger.migrate import migrate
from consent_contracts.topics import Topics
from consent_http import api_keys
from consent_kafka import provisioning
from consent_service.clock import now_micros
from local_stack.servers import ServerEndpoints
from tests.conftest import own_database
from tests.integration.doctor.rig import Installation
from tests.support.one_destination import SECRET

_RELAYED = text(
    "INSERT INTO relay_partitions (lane, partition, topic_id, resolved_at)"
    " SELECT lane, partition, 'id', :now FROM unnest(ARRAY['live', 'bulk']) lane, generate_series(0, 3) partition"
)


_DESTINATIONS = """\
destinations:
  - name: crm
    connector: webhook
    channel: sms
    url: http://127.0.0.1:{port}/hook
    credentials: {{secret: {{env: WEBHOOK}}}}
    options: {{allow_private: true}}
    purposes: same
"""


@dataclass(frozen=True, kw_only=True)
class _Made:
    topics: Topics
    owner: Engine
    service: URL


@pytest.fixture(scope="session")
def made(servers: ServerEndpoints) -> Iterator[_Made]:
    """Topics, schemas and database, once for all tests: each undoes what it changes."""
    topics = Topics(prefix=f"t{uuid4().hex[:8]}.")
    provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=topics)
    with own_database(servers) as database:
        owner = make_url(database)
        service = owner.set(username=f"svc_{uuid4().hex[:12]}", password=uuid4().hex)
        migrate(owner, service)
        engine = create_engine(owner, isolation_level="AUTOCOMMIT")
        yield _Made(topics=topics, owner=engine, service=service)
        with engine.connect() as connection:
            connection.execute(text(f"DROP OWNED BY {service.username} CASCADE"))
            connection.execute(text(f"DROP ROLE {service.username}"))
        engine.dispose()
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    for deleted in admin.delete_topics([spec.name for spec in topics.specs()]).values():
        deleted.result()


@pytest.fixture
def tool() -> Iterator[socket.socket]:
    """A tool that takes connections: no more is asked of a webhook."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def installation(
    made: _Made,
    tool: socket.socket,
    servers: ServerEndpoints,
    keyring_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Installation:
    """All that processes need is there and right, and the environment names it; the ledger is as a relay left it."""
    with made.owner.connect() as connection:
        connection.execute(text("DELETE FROM relay_partitions"))
        connection.execute(_RELAYED, {"now": now_micros()})
    keyring = Path(shutil.copy(keyring_file, tmp_path / "keyring.toml"))
    destinations = tmp_path / "destinations.yaml"
    destinations.write_text(_DESTINATIONS.format(port=tool.getsockname()[1]))
    monkeypatch.setenv("WEBHOOK", SECRET)
    gate_keys = tmp_path / "gate-keys.json"
    api_keys.write(gate_keys, [api_keys.mint(tenant="acme", scopes=["check"])[1]])
    settings = {
        "KAFKA": servers.kafka,
        "REGISTRY": servers.registry,
        "TOPIC_PREFIX": made.topics.prefix,
        "KEYRING_FILE": str(keyring),
        "API_DATABASE": made.service.render_as_string(hide_password=False),
        "GATE_KEYS_FILE": str(gate_keys),
        "PROPAGATOR_DESTINATIONS": str(destinations),
        "STATE_DIR": str(tmp_path),
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"CONSENT_RELAY_{name}", value)
    tmp_path.chmod(0o700)
    return Installation(
        topics=made.topics,
        kafka=servers.kafka,
        registry=servers.registry,
        owner=made.owner,
        service=made.service,
        keyring=keyring,
        directory=tmp_path,
    )
