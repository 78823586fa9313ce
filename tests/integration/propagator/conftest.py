from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from consent_contracts import Topics
from consent_privacy.keyring import Keyring
from tests.integration.propagator.rig import Rig, Sandbox
from tests.integration.propagator.state_rig import StateRig


@pytest.fixture
def rig(
    kafka: str, registry_url: str, topics: Topics, keyring: Keyring, keyring_file: Path, tmp_path: Path
) -> Iterator[Rig]:
    """No worker runs yet: `rig.start`."""
    made = Rig(
        bootstrap=kafka,
        registry=registry_url,
        topics=topics,
        keyring=keyring,
        keyring_file=keyring_file,
        directory=tmp_path,
        sandbox=Sandbox(tmp_path),
    )
    yield made
    made.close()


@pytest.fixture
async def state_rig(
    kafka: str, registry_url: str, topics: Topics, keyring: Keyring, keyring_file: Path, tmp_path: Path
) -> AsyncIterator[StateRig]:
    """No process runs yet: `state_rig.process`."""
    made = StateRig(kafka, registry_url, topics, keyring, keyring_file, tmp_path)
    yield made
    await made.close()
