"""The status page on a port of this machine, for people with a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consent_http import api_keys
from consent_http.api_keys import ApiKey, KeyFile
from consent_service.health import Health
from status_page.app import create_app
from status_page.collector import Collector
from status_page.entrance import Entrance
from status_page.metrics import StatusMetrics
from status_page.observed import Observed
from status_page.routes import Site
from status_page.sessions import Sessions
from status_page.settings import PROCESSES, Target
from status_page.streams import Streams
from tests.support.served import served
from tests.support.status_history import INTERVAL, observed

Serve = Callable[[Observed], AbstractContextManager[str]]


class Keys:
    """A file of keys, and their tokens: to look, and to explain too."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.token, self.key = api_keys.mint(tenant="acme", scopes=["operate"])
        self.explaining_token, self.explaining_key = api_keys.mint(tenant="acme", scopes=["operate", "read"])
        self.other_token, self.other_key = api_keys.mint(tenant="acme", scopes=["read"])
        self.write(self.key, self.explaining_key, self.other_key)

    def write(self, *keys: ApiKey) -> None:
        api_keys.write(self.file, keys)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "status-keys.json")


@pytest.fixture
def serve(keys: Keys) -> Serve:
    """Serves what was observed; nothing is read meanwhile."""

    @contextmanager
    def serving(of: Observed) -> Iterator[str]:
        metrics = StatusMetrics.on(CollectorRegistry(), processes=PROCESSES)
        collector = Collector(of, _no_targets, _never, metrics=metrics, health=Health())
        site = Site(
            Entrance(KeyFile(keys.file), Sessions(), url=None, explains=True),
            Streams(of, collector, metrics),
            metrics,
            explain=None,
            channels=("sms", "email", "voice"),
            interval=INTERVAL,
            url=None,
        )
        with served(create_app(site)) as url:
            yield url

    return serving


async def _no_targets() -> list[Target]:
    return []


async def _never(_: object) -> None:  # type: ignore[misc]
    raise AssertionError("nothing is to be read")


@pytest.fixture
def site(serve: Serve) -> Iterator[str]:
    """The page of an installation with a tool down and a silent process."""
    with ExitStack() as stack:
        yield stack.enter_context(serve(observed(faults=True)))
