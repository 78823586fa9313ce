"""Nothing is lost and no person is wrongly permitted, whatever breaks (R43): the whole system on its real servers.

After each fault all is let settle, and every decision is compared with every tool, as at the end of the demo.
CHAOS_FAULTS says how many faults (every kind once by default), CHAOS_SEED repeats a run: `make chaos N=100 SEED=7`.
"""

import contextlib
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_stack.demo.status import DemoStatus
from local_stack.demo.view import seconds
from local_stack.destinations import DESTINATIONS
from local_stack.stack import Stack
from tests.chaos import checks
from tests.chaos.faults import DOWN, KINDS, ChaosContext, outage_of
from tests.chaos.load import Load
from tests.chaos.poison import Poison
from tests.chaos.schedule import Planned, schedule

PERSONS = 500
RATE = 60.0
PARTITIONS = 4
POISON_EACH = 3
FAULTS = int(os.environ.get("CHAOS_FAULTS") or len(KINDS))
# What all wait for before a comparison: a state is sent again after twice the time that a tool has to answer, and
# the lag process has to look twice.
SOONER = {"CONSENT_RELAY_LAG_INTERVAL": "0.5"}
IMPATIENT = DESTINATIONS.replace("    connector:", "    timeout_seconds: 4\n    connector:")
WITH_ONE_DOWN = f"""{IMPATIENT}\
  - name: {DOWN}
    timeout_seconds: 4
    connector: webhook
    channel: sms
    url: {{sandbox}}/webhook/down
    credentials: {{{{secret: {{{{file: secrets/webhook}}}}}}}}
    options: {{{{allow_private: true}}}}
    purposes: same
    push_permissions: true
"""

Say = Callable[[str], None]


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Say:
    """Writes a line of progress, past pytest's capturing."""
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    capturing = request.config.pluginmanager.getplugin("capturemanager")
    assert terminal is not None
    assert capturing is not None
    begun = time.monotonic()

    def line(text: str) -> None:
        with capturing.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(f"[{time.monotonic() - begun:6.1f} s] {text}", flush=True)

    return line


@pytest.fixture
def stack(tmp_path: Path, say: Say) -> Iterator[Stack]:
    """The whole system with servers of its own: some are killed."""
    stack = Stack(tmp_path, environ=SOONER, report=say, destinations=WITH_ONE_DOWN)
    with stack:
        stack.start()
        yield stack


@pytest.mark.chaos
@pytest.mark.timeout(600 + 60 * FAULTS)
def test_nothing_is_lost_and_no_person_wrongly_permitted(stack: Stack, say: Say) -> None:  # R5, R43
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(2**31))
    plan = schedule(list(KINDS), FAULTS, seed)
    say(f"{len(plan)} faults with seed {seed}; logs in {stack.endpoints.logs}")
    load = Load(stack.endpoints, persons=PERSONS, rate=RATE, seed=seed)
    poison = Poison(stack.endpoints, partitions=PARTITIONS, seed=seed)
    progress = DemoStatus(stack.endpoints, but=[DOWN])
    with contextlib.closing(load):
        outage_of(stack, "webhook/down", "reset")
        load.all_choose()
        checks.settle(stack, progress, say)
        for planned in plan:
            progress.reload_tools()
            progress.mark()
            with load.running():
                _strike(planned, stack, load, poison, say)
            assert not load.failures, load.failures
            progress.reload_tools()
            checks.settle(stack, progress, say)
            findings = checks.as_decided(stack, load, poison, but=[DOWN])
            judged = checks.no_stale_permission(stack, load, poison)
            letters = checks.dead_letters_are_the_poison(stack, load, poison)
            say(
                f"  {len(load.book):,} decisions, {findings.matches.total():,} as decided, 0 lost, 0 wrongly permitted,"
                f" 0 wrongly suppressed; {judged:,} histories, none stale; {letters} dead letters, all poison;"
                f" live p99 {_live_latencies(progress)}"
            )
        say(f"{DOWN} is back after the whole run")
        outage_of(stack, "webhook/down", "off")
        checks.settle(stack, DemoStatus(stack.endpoints), say)
        checks.as_decided(stack, load, poison)
        checks.no_crash(stack)


def _live_latencies(progress: DemoStatus) -> str:
    rows = [row for row in progress.rows() if row.delivery_class == "live" and row.p99 is not None]
    return ", ".join(f"{row.destination} {seconds(row.p99)}" for row in rows) or "not measured"


def _strike(planned: Planned, stack: Stack, load: Load, poison: Poison, say: Say) -> None:
    say(str(planned))
    rng = random.Random(planned.seed)
    time.sleep(planned.after)
    poison.send(POISON_EACH)
    began = time.monotonic()
    KINDS[planned.kind](ChaosContext(stack=stack, load=load, rng=rng, lasts=planned.lasts, say=say))
    say(f"    healed after {time.monotonic() - began:.1f} s")
    checks.no_crash(stack)
    assert not load.failures, load.failures
