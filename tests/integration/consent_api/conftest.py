"""The ledger on a real PostgreSQL, as the services' role sees it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, text

from consent_api.ledger.database import connect
from consent_api.ledger.ids import DecisionIds
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.migrate import migrate
from consent_api.ledger.outbox import Outbox
from consent_api.ledger.record import Desk
from consent_contracts import schemas
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_runtime.keyring import Keyring


class FixedIds:
    """A registry that needs no server: every schema of ours has its place in the list as its id."""

    def id_of(self, subject: str, schema_text: str) -> int:
        return 1 + [schemas.text(name) for name in schemas.RECORD_NAMES].index(schema_text)

    def schema_of(self, schema_id: int) -> str:
        return schemas.text(schemas.RECORD_NAMES[schema_id - 1])


@pytest.fixture
def owner(database: str) -> URL:
    return make_url(database)


@pytest.fixture
def service(owner: URL) -> Iterator[URL]:
    """A migrated database, as a role of its own: roles belong to the whole cluster."""
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
    """The migrated database with every right, to look behind the service's back."""
    engine = create_engine(owner)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(service: URL) -> Iterator[Engine]:
    engine = connect(service, pool_size=20, application="tests")
    yield engine
    engine.dispose()


@pytest.fixture
def codec() -> Codec:
    return Codec(FixedIds())


@pytest.fixture
def desk(codec: Codec, keyring: Keyring) -> Desk:
    return Desk(keyring=keyring, outbox=Outbox(codec=codec, topics=Topics()), ids=DecisionIds())


@pytest.fixture
def ledger(engine: Engine, desk: Desk) -> Ledger:
    return Ledger(engine=engine, desk=desk)
