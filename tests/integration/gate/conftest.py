"""A writer of entries, and views that are closed at the end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consent_client import ResolvedTimestamps, SuppressionView
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_kafka.resolved import StalenessLimits
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.gate.entries import Entries, wait_for
from tests.support.list_resolved import ResolvedWriter

OpenView = Callable[..., SuppressionView]


@pytest.fixture
def codec(registry_url: str, topics: Topics) -> Codec:
    return Codec.connect(registry_url, topics)


@pytest.fixture
def entries(kafka: str, codec: Codec, topics: Topics, keyring: Keyring) -> Iterator[Entries]:
    entries = Entries(bootstrap=kafka, codec=codec, topics=topics, keyring=keyring)
    yield entries
    entries.close()


@pytest.fixture
def resolved(kafka: str, codec: Codec, topics: Topics) -> ResolvedWriter:
    """Writes resolved records when it is asked to."""
    return ResolvedWriter(bootstrap=kafka, codec=codec, topics=topics)


@pytest.fixture
def resolving(resolved: ResolvedWriter) -> Iterator[ResolvedWriter]:
    """Writes resolved records all the time."""
    with resolved.running():
        yield resolved


@pytest.fixture
def open_view(kafka: str, codec: Codec, topics: Topics) -> Iterator[OpenView]:
    """Opens a view of a channel; waits until it reflects this moment unless `wait` is false. `stale_after`: seconds."""
    opened: list[SuppressionView | ResolvedTimestamps] = []

    def open_(
        channel: str = "sms",
        *,
        wait: bool = True,
        stale_after: float = 30.0,
        clock: Callable[[], int] = now_micros,
        **overrides: Any,
    ) -> SuppressionView:
        given = {"topics": topics, "codec": codec, "bootstrap": kafka, "clock": clock, **overrides}
        timestamps = ResolvedTimestamps(topics=given["topics"], codec=codec, bootstrap=given["bootstrap"], clock=clock)
        limits = StalenessLimits(live=int(stale_after * 1_000_000))
        view = SuppressionView(channel, **{"timestamps": timestamps, "limits": limits, **given})
        opened.extend((view, timestamps))
        timestamps.start()
        view.start()
        if wait:
            wait_for(view)
        return view

    yield open_
    for each in opened:
        each.close()
