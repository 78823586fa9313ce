"""The credentials of a destination are replaced while it is open: no call fails by that, and none is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consent_http.webhook_signature import PREFIX
from propagator.connectors import CATALOGUE
from propagator.connectors.base import Accepted, ConnectionSettings, Connector, Outcome, Push
from propagator.connectors.rotating import RotatingConnector, followed_connection
from propagator.errors import MisconfiguredError
from tests.support.call_budget import CountedBudget
from tests.unit.connectors.conftest import a_push

FIRST, SECOND = PREFIX + "A" * 32, PREFIX + "B" * 32
WEBHOOK = CATALOGUE["webhook"]


class Recorder:
    """A connector that waits until it is let go, and records by which credentials it was called and that it was
    closed."""

    def __init__(self, connection: ConnectionSettings) -> None:
        self.secret = connection.credentials["secret"]
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.calls = 0
        self.closed = False

    async def verify(self, *, budget: Any) -> None:
        self.calls += 1

    async def push(self, pushes: Sequence[Push], *, guard: Any, budget: Any) -> Sequence[Outcome]:
        self.calls += 1
        await self.go_on.wait()
        assert not self.closed
        return [Accepted() for _ in pushes]

    async def close(self) -> None:
        self.closed = True


class Rig:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "secret"
        self.path.write_text(f"{FIRST}\n")
        self.opened: list[Recorder] = []
        connection = ConnectionSettings(
            destination="crm",
            tenant="acme",
            channel="sms",
            url="https://crm.example.com/hook",
            credentials={"secret": FIRST},
            credential_files={"secret": self.path},
            options={name: option.default for name, option in WEBHOOK.options.items()},
            targets=(),
        )
        self.file = followed_connection(WEBHOOK, connection)
        self.connector = RotatingConnector(replace(WEBHOOK, open=self._open), self.file)

    def _open(self, connection: ConnectionSettings) -> Connector:
        self.opened.append(Recorder(connection))
        return self.opened[-1]

    def write(self, secret: str) -> None:
        self.path.write_text(secret)
        self.file.refresh()

    async def push(self) -> Sequence[Outcome]:
        return await self.connector.push([a_push()], guard=lambda: True, budget=CountedBudget())


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_the_next_call_has_the_new_credentials_and_the_connector_before_is_closed(rig: Rig) -> None:
    await rig.push()
    rig.write(SECOND)
    await rig.push()
    await rig.connector.verify(budget=CountedBudget())
    assert [(each.secret, each.calls, each.closed) for each in rig.opened] == [(FIRST, 1, True), (SECOND, 2, False)]
    await rig.connector.close()
    assert rig.opened[1].closed


async def test_a_call_in_flight_ends_with_the_credentials_that_it_began_with(rig: Rig) -> None:
    [first] = rig.opened
    first.go_on.clear()
    slow = [asyncio.create_task(rig.push()) for _ in range(2)]
    await asyncio.sleep(0)
    rig.write(SECOND)
    await rig.push()
    assert not first.closed
    first.go_on.set()
    await asyncio.gather(*slow)
    assert first.closed
    assert rig.opened[1].calls == 1


@pytest.mark.parametrize("bad", ["", "whsec_short", "not a secret"])
async def test_bad_credentials_are_not_taken_and_named_without_the_secret(rig: Rig, bad: str) -> None:
    rig.write(bad)
    await rig.push()
    assert [each.secret for each in rig.opened] == [FIRST]
    assert str(rig.path) in rig.file.error or "webhook secret" in rig.file.error
    assert not bad or bad not in rig.file.error
    rig.write(SECOND)
    await rig.push()
    assert [each.secret for each in rig.opened] == [FIRST, SECOND]


def test_credentials_that_are_bad_at_the_start_are_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.path.unlink()
    with pytest.raises(MisconfiguredError, match="cannot be read"):
        followed_connection(WEBHOOK, rig.file.value)
