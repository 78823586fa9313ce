"""Processes of the release before and of this tree, side by side on one database and the same topics. # R44"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from consent_api.ledger.migrate import migrate
from local_stack.audit.compare import Findings
from local_stack.audit.live import audit, tools
from local_stack.demo.status import DemoStatus
from local_stack.servers import ServerEndpoints
from local_stack.stack import Stack
from tests.chaos import checks
from tests.chaos.load import Load
from tests.integration.system.rotation import RESTART_ORDER
from tests.support import example_migrations
from tests.support.releases import newest_release, unpack
from tests.support.waiting import until

PERSONS = 40
RATE = 15.0
HALVES = ({"api", "suppression", "propagator"}, {"relay", "ingest", "gate"})
"""Each record and each table has its writer in one of them and its reader in the other."""


@pytest.fixture
def stack(servers: ServerEndpoints, database: str, tmp_path: Path) -> Iterator[Stack]:
    environ = {
        "CONSENT_RELAY_KAFKA": servers.kafka,
        "CONSENT_RELAY_REGISTRY": servers.registry,
        "CONSENT_RELAY_DATABASE": database,
        "CONSENT_RELAY_TOPIC_PREFIX": f"t{uuid4().hex[:8]}.",
        "CONSENT_RELAY_LAG_INTERVAL": "0.5",
    }
    with Stack(tmp_path / "stack", environ=environ, report=to_stderr) as stack:
        stack.start()
        yield stack


def test_each_half_of_the_system_works_with_the_other_half_of_the_previous_release(
    stack: Stack, database: str, tmp_path: Path
) -> None:
    name, commit = newest_release()
    before = unpack(commit, tmp_path / "release")
    assert imported(before).is_relative_to(tmp_path), f"{name} is not what runs"
    # The database may be one release newer than the processes.
    migrate(
        make_url(database),
        make_url(stack.endpoints.settings["CONSENT_RELAY_API_DATABASE"]),
        further=[Path(example_migrations.__file__).parent],
    )
    with closing(Load(stack.endpoints, persons=PERSONS, rate=RATE, seed=14)) as load:
        load.all_choose()
        for half in HALVES:
            with load.running():
                run_before(stack, half, before)
            checks.settle(stack, DemoStatus(stack.endpoints), to_stderr)
            findings = until(lambda: right(stack, load), what=f"all is as decided, with {half} of {name}")
            for where in ("gate", *(tool.destination for tool in tools(stack.endpoints))):
                assert findings.matches[where], f"nothing was compared at {where}"
            assert not load.failures, load.failures
    checks.no_crash(stack)


def run_before(stack: Stack, half: set[str], before: Mapping[str, str]) -> None:
    """These as the previous release has them, the others as this tree has them; each stopped by SIGTERM."""
    for names in RESTART_ORDER:
        stack.supervisor.run_parallel(*(partial(replace_process, stack, each, half, before) for each in names))


def replace_process(stack: Stack, name: str, half: set[str], before: Mapping[str, str]) -> None:
    child = stack.supervisor.child(name)
    child.stop()
    env = {each: value for each, value in child.program.env.items() if each not in before}
    child.program = replace(child.program, env={**env, **before} if name in half else env)
    stack.supervisor.restart(name)


def right(stack: Stack, load: Load) -> Findings | None:
    found = audit(stack.endpoints, load.book.verdicts())
    if found.differences:
        to_stderr(f"different: {found.differences[:3]}")
        return None
    return found


def imported(environment: Mapping[str, str]) -> Path:
    """Where Python finds our packages in it."""
    command = [sys.executable, "-c", "import consent_api; print(consent_api.__file__)"]
    ran = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return Path(ran.stdout.strip())


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
