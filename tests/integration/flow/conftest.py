"""An installation of the test's own: database, topics, schemas, keyring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from consent_api.ledger.migrate import migrate
from consent_api.outbox_relay import process
from consent_contracts.topics import Topics
from tests.integration.flow.rig import Rig
from tests.integration.flow.stuck_partition import STUCK, PublisherWithoutLeader


@pytest.fixture
def one_partition_stuck(monkeypatch: pytest.MonkeyPatch) -> type[PublisherWithoutLeader]:
    monkeypatch.setattr(process, "Publisher", PublisherWithoutLeader)
    monkeypatch.setattr(PublisherWithoutLeader, "stuck", frozenset({STUCK}))
    return PublisherWithoutLeader


@pytest.fixture
def rig(
    kafka: str, registry_url: str, database: str, topics: Topics, keyring_file: Path, tmp_path: Path
) -> Iterator[Rig]:
    owner_url = make_url(database)
    role = f"flow_{uuid4().hex[:12]}"
    service = owner_url.set(username=role, password=uuid4().hex)
    migrate(owner_url, service)
    owner = create_engine(owner_url, isolation_level="AUTOCOMMIT")
    yield Rig(
        kafka=kafka,
        registry=registry_url,
        database=service,
        owner=owner,
        topics=topics,
        keyring_file=keyring_file,
        state_dir=tmp_path / "state",
    )
    with owner.connect() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))
    owner.dispose()
