"""The system whose parts the tests make fail: one for all of them, whole again after each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from local_stack.servers import ServerEndpoints
from local_stack.stack import Stack
from tests.conftest import own_database
from tests.integration.failing.failing_system import SETTINGS, FailingSystem


@pytest.fixture(scope="session")
def failing_stack(servers: ServerEndpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with own_database(servers) as url:
        environ = SETTINGS | {
            "CONSENT_RELAY_KAFKA": servers.kafka,
            "CONSENT_RELAY_REGISTRY": servers.registry,
            "CONSENT_RELAY_DATABASE": url,
            "CONSENT_RELAY_TOPIC_PREFIX": f"t{uuid4().hex[:8]}.",
        }
        directory = tmp_path_factory.mktemp("failing")
        with Stack(directory, environ=environ, report=lambda text: print(text, file=sys.stderr)) as stack:
            stack.start()
            yield stack


@pytest.fixture
def failing(failing_stack: Stack) -> Iterator[FailingSystem]:
    """Every process runs and is ready, whatever the test before has left."""
    for name in failing_stack.endpoints.metrics:
        failing_stack.supervisor.child(name).start()
        failing_stack.resume(name)
    for name in failing_stack.endpoints.metrics:
        failing_stack.supervisor.await_ready(name)
    with closing(FailingSystem(failing_stack)) as system:
        yield system
