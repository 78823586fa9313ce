"""What the processes of this service import before they do anything."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.long
@pytest.mark.parametrize("process", ["consent_api.outbox_relay.process", "consent_api.ingest.process"])
def test_relay_and_ingest_start_without_an_http_client(process: str) -> None:
    code = f"import sys, {process}; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
