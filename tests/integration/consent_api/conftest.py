"""The ledger on a real PostgreSQL, as the services' role sees it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, Engine, create_engine, make_url, text

from consent_api.domain.validation import ValidationRules
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.database import connect
from consent_api.ledger.ids import DecisionIds
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.migrate import migrate
from consent_api.ledger.outbox_messages import ChangeMessages
from consent_api.ledger.recording import LedgerContext
from consent_api.ledger.tables import metadata
from consent_contracts import schemas
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from consent_service.health import Health
from local_stack.servers import ServerEndpoints


class FixedIds:
    """A registry that needs no server: every schema of ours has its place in the list as its id."""

    def id_of(self, subject: str, schema_text: str) -> int:
        return 1 + [schemas.schema_text(name) for name in schemas.RECORD_NAMES].index(schema_text)

    def schemas_of(self, subject: str) -> dict[int, str]:
        return {}


@pytest.fixture(scope="session")
def owner(servers: ServerEndpoints) -> Iterator[URL]:
    """A database for all of these tests: making one takes longer than most of them."""
    name = f"test_{uuid4().hex[:12]}"
    url = make_url(servers.database)
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield url.set(database=name)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(scope="session")
def service(owner: URL) -> Iterator[URL]:
    """The database migrated, as a role of its own: roles belong to the whole cluster."""
    role = f"svc_{uuid4().hex[:12]}"
    url = owner.set(username=role, password="a password with % and '")
    migrate(owner, url)
    yield url
    engine = create_engine(owner, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))
    engine.dispose()


@pytest.fixture
def owner_engine(owner: URL, service: URL) -> Iterator[Engine]:
    """The migrated database, empty, with every right, to look behind the service's back."""
    engine = create_engine(owner)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)}"))
    yield engine
    engine.dispose()


@pytest.fixture
def engine(service: URL, owner_engine: Engine) -> Iterator[Engine]:
    """As the services connect."""
    engine = connect(service, pool_size=20, application="tests")
    yield engine
    engine.dispose()


@pytest.fixture
def codec() -> Codec:
    return Codec(FixedIds())


@pytest.fixture
def context(codec: Codec, keyring: Keyring) -> LedgerContext:
    return LedgerContext(
        keyring=keyring, outbox=ChangeMessages(codec=codec, topics=Topics(), partitions=4), ids=DecisionIds()
    )


@pytest.fixture
def ledger(engine: Engine, context: LedgerContext) -> Ledger:
    return Ledger(engine=engine, context=context)


@pytest.fixture
def metrics_registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def api_key(owner_engine: Engine) -> str:
    """A key of tenant acme that may do all that the API does."""
    scopes = ["submit", "read", "links", "admin", "check", "rights:read", "rights:write"]
    with owner_engine.begin() as connection:
        return key_store.create(connection, tenant="acme", scopes=scopes, name="tests", now=now_micros())


@pytest.fixture
def client(ledger: Ledger, metrics_registry: CollectorRegistry, api_key: str) -> Iterator[TestClient]:
    """The API in this process, called with `api_key`."""
    app = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=("sms", "email", "voice"), default_region="FR"),
        metrics=ApiMetrics.on(metrics_registry, channels=("sms", "email", "voice")),
        health=Health(),
        public_url="https://choices.example.com",
    )
    with TestClient(app, headers={"Authorization": f"Bearer {api_key}"}, raise_server_exceptions=False) as client:
        yield client
