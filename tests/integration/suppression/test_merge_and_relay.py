"""The merge with a real relay: holes close by themselves, and the list's age is the ledger's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from consent_api.ledger.migrate import migrate
from consent_service.clock import now_micros
from tests.integration.suppression.workers import Installation
from tests.support.waiting import until


@pytest.fixture
def relay(installation: Installation, database: str, tmp_path: Path) -> Iterator[None]:
    """A `consent-relay relay` over an empty ledger."""
    owner_url = make_url(database)
    role = f"merge_{uuid4().hex[:12]}"
    service = owner_url.set(username=role, password=uuid4().hex)
    migrate(owner_url, service)
    environment = {
        **os.environ,
        **installation.environment,
        "CONSENT_RELAY_API_DATABASE": service.render_as_string(hide_password=False),
        "CONSENT_RELAY_METRICS_PORT": "0",
    }
    with (tmp_path / "relay.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "consent_service", "relay"], env=environment, stdout=log, stderr=log
        )
        yield
        process.terminate()
        assert process.wait(20) == 0
    owner = create_engine(owner_url, isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))
    owner.dispose()


@pytest.mark.usefixtures("relay")
def test_holes_are_closed_by_the_relay_and_the_list_is_as_old_as_the_ledger(installation: Installation) -> None:
    def is_whole() -> bool:
        newest = installation.read_resolved().values()
        return len(newest) == 4 and all(content["hole"] is None and not content["channel_holes"] for content in newest)

    def is_fresh() -> bool:
        """Both lanes were resolved within the last 5 s in every partition."""
        since = now_micros() - 5_000_000
        return is_whole() and all(
            min(content["resolved_at"] or 0, content["bulk_resolved_at"] or 0) > since
            for content in installation.read_resolved().values()
        )

    def holes() -> set[str]:
        """The ids of all holes so far."""
        installation.read_resolved()
        return {content["hole"] for found in installation.resolved.values() for content in found} - {None}

    worker = installation.start("a")
    until(is_fresh, 60, "a new installation is whole")
    assert len(holes()) == 4
    installation.rig.recreate(installation.rig.topics.changes)
    until(lambda: len(holes()) >= 8, 30, "each partition of the topic that was created again is a hole")
    until(is_fresh, 60, "the relay has repaired them")
    assert worker.end() == 0
