from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.transport.processes import Bench


@pytest.fixture
def bench(kafka: str, tmp_path: Path) -> Iterator[Bench]:
    """A topic, a group, a journal, and worker processes that end with the test."""
    bench = Bench(kafka, tmp_path)
    yield bench
    bench.close()
