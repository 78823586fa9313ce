"""Real workers on the test's own topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consent_contracts import Topics
from tests.integration.suppression.stage import Rig
from tests.integration.suppression.workers import Installation


@pytest.fixture
def installation(
    kafka: str, registry_url: str, topics: Topics, keyring_file: Path, tmp_path: Path
) -> Iterator[Installation]:
    environment = {
        "CONSENT_RELAY_KAFKA": kafka,
        "CONSENT_RELAY_REGISTRY": registry_url,
        "CONSENT_RELAY_TOPIC_PREFIX": topics.prefix,
        "CONSENT_RELAY_KEYRING_FILE": str(keyring_file),
        "CONSENT_RELAY_STATE_DIR": str(tmp_path / "state"),
    }
    made = Installation(Rig(kafka, registry_url, topics, tmp_path / "rig"), environment, tmp_path)
    with made.workers:
        yield made
    made.close()
