"""The whole running system has no fault, by what an operator runs beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from local_stack.stack import Stack
from tests.support import registers


def test_the_running_system_has_no_fault(system: Stack) -> None:
    registers.load(system.endpoints)
    command = Path(sys.executable).with_name("consent-relay")
    ended = subprocess.run(
        [command, "doctor", "--json"],
        env={**os.environ, **system.endpoints.settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stderr == ""
    findings = json.loads(ended.stdout)["findings"]
    # A machine of tests may run no NTP client, and its PostgreSQL need not survive a crash.
    worse = [each for each in findings if each["result"] not in ("ok", "not configured", "warning")]
    assert worse == []
    assert ended.returncode in (0, 1)
    destinations = [each["result"] for each in findings if each["name"].startswith("destination ")]
    assert destinations == ["ok"] * 4
    for name in ("topics", "registry", "database role", "outbox", "lag", "freshness of the lists", "clock of Kafka"):
        assert [each["result"] for each in findings if each["name"] == name] == ["ok"], name
