"""Nothing is lost and nobody is wrongly permitted, whatever breaks (R43): the whole system on its real servers.

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

from local_stack.destinations import DESTINATIONS
from local_stack.stack import Stack
from tests.chaos import checks
from tests.chaos.faults import KINDS, Scene
from tests.chaos.load import Load
from tests.chaos.poison import Poison
from tests.chaos.schedule import Planned, schedule

PERSONS = 500
RATE = 60.0
PARTITIONS = 4
POISON_EACH = 3
# What all wait for before a comparison: a state is told again after twice the time that a tool has to answer, and
# the lag process has to look twice.
SOONER = {"CONSENT_RELAY_LAG_INTERVAL": "0.5"}
IMPATIENT = DESTINATIONS.replace("    connector:", "    timeout_seconds: 4\n    connector:")

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
    stack = Stack(tmp_path, environ=SOONER, report=say, destinations=IMPATIENT)
    with stack:
        stack.start()
        yield stack


@pytest.mark.chaos
def test_nothing_is_lost_and_nobody_wrongly_permitted(stack: Stack, say: Say) -> None:  # R5, R43
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(2**31))
    plan = schedule(list(KINDS), int(os.environ.get("CHAOS_FAULTS") or len(KINDS)), seed)
    say(f"{len(plan)} faults with seed {seed}; logs in {stack.endpoints.logs}")
    load = Load(stack.endpoints, persons=PERSONS, rate=RATE, seed=seed)
    poison = Poison(stack.endpoints, partitions=PARTITIONS, seed=seed)
    with contextlib.closing(load):
        load.everybody_chooses()
        for planned in plan:
            with load.running():
                _strike(planned, stack, load, poison, say)
            assert not load.failures, load.failures
            checks.settle(stack, say)
            findings = checks.as_decided(stack, load, poison)
            judged = checks.no_stale_yes(stack, load, poison)
            letters = checks.dead_letters_are_the_poison(stack, load, poison)
            say(
                f"  {len(load.book):,} decisions, {findings.told.total():,} as decided, 0 lost, 0 wrongly permitted,"
                f" 0 wrongly suppressed; {judged:,} histories without a stale yes; {letters} dead letters, all poison"
            )
        checks.parked_poison_is_struck_out(stack, poison)
        checks.no_crash(stack)


def _strike(planned: Planned, stack: Stack, load: Load, poison: Poison, say: Say) -> None:
    say(str(planned))
    rng = random.Random(planned.seed)
    time.sleep(planned.after)
    poison.send(POISON_EACH)
    began = time.monotonic()
    KINDS[planned.kind](Scene(stack=stack, load=load, rng=rng, lasts=planned.lasts, say=say))
    say(f"    healed after {time.monotonic() - began:.1f} s")
    checks.no_crash(stack)
    assert not load.failures, load.failures
