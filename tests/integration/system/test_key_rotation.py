"""A hash key is rotated by the book while people keep choosing (R12): after each step every tool, the webhook that
knows addresses by key alone and the gate hold what was decided. The services read each step from the file, and hold to
it when they are restarted afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from local_stack.destinations import DESTINATIONS
from local_stack.servers import ServerEndpoints
from local_stack.stack import Stack
from tests.chaos.load import Load
from tests.integration.system.rotation import Rotation

PERSONS = 60
RATE = 15.0
SEED = 8
# A call without an answer is in doubt for twice this long.
IMPATIENT = DESTINATIONS.replace("    connector:", "    timeout_seconds: 4\n    connector:")


@pytest.fixture
def stack(servers: ServerEndpoints, database: str, tmp_path: Path) -> Iterator[Stack]:
    """A system of the test's own on the shared servers: its services are restarted."""
    environ = {
        "CONSENT_RELAY_KAFKA": servers.kafka,
        "CONSENT_RELAY_REGISTRY": servers.registry,
        "CONSENT_RELAY_DATABASE": database,
        "CONSENT_RELAY_TOPIC_PREFIX": f"t{uuid4().hex[:8]}.",
        "CONSENT_RELAY_LAG_INTERVAL": "0.5",
    }
    with Stack(tmp_path, environ=environ, report=to_stderr, destinations=IMPATIENT) as stack:
        stack.start()
        yield stack


@pytest.fixture
def load(stack: Stack) -> Iterator[Load]:
    with closing(Load(stack.endpoints, persons=PERSONS, rate=RATE, seed=SEED)) as load:
        load.all_choose()
        yield load


@pytest.fixture
def rotation(stack: Stack, load: Load) -> Iterator[Rotation]:
    with closing(Rotation(stack, load, report=to_stderr)) as rotation:
        yield rotation


def test_tools_and_gate_hold_what_was_decided_after_each_step_of_a_rotation(rotation: Rotation, load: Load) -> None:
    rotation.all_is_as_decided("before the rotation")

    with load.running():
        assert rotation.keyring("rotate", "--tenant", "acme") == "added h2\n"
        rotation.read_again()
        refuses(rotation, "promote", "h2")
        refuses(rotation, "retire", "h1")
    assert rotation.live_key_ids() == ["h1", "h2"]
    # A permission that a process with the old keyring recorded is not under h2 yet, beside a refusal that another
    # process published under both. The gate heeds a refusal under any key.
    rotation.all_is_as_decided("a second key is live", but_suppressed_at_the_gate=True)

    with load.running():
        rotation.run("republish", "--tenant", "acme")
        rotation.give_again(rotation.places(0, of=3))
    rotation.all_is_as_decided("republished")
    rotation.all_is_suppressed_under("h2")

    with load.running():
        assert "h2 is now the primary" in rotation.keyring("promote", "acme", "h2")
        rotation.read_again()
        rotation.give_again(rotation.places(1, of=3))
    rotation.all_is_as_decided("promoted")
    rotation.all_is_suppressed_under("h2")

    with load.running():
        assert rotation.keyring("retire", "acme", "h1") == "removed h1\n"
        rotation.read_again()
    rotation.all_is_as_decided("retired")
    assert not rotation.rows_under("h1")

    with load.running():
        rotation.restart_in_order()
    rotation.all_is_as_decided("restarted")

    rotation.give_again(rotation.places())
    rotation.all_is_permitted()
    rotation.all_is_as_decided("permitted again")


def refuses(rotation: Rotation, command: str, key_id: str) -> None:
    """With the missing key and the remedy in the message; before the republish has ended."""
    output = rotation.keyring(command, "acme", key_id, code=1)
    assert "h2 of tenant acme does not hold every decision yet, nothing was changed" in output
    assert "consent-relay republish --tenant acme" in output


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
