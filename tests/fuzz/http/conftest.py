"""The processes run once for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.servers import ServerEndpoints
from tests.fuzz.http.services import Service, running


@pytest.fixture(scope="session")
def services(
    servers: ServerEndpoints, keyring_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Service]]:
    with running(servers, keyring_file, tmp_path_factory.mktemp("fuzz")) as services:
        yield services
