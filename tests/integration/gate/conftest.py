"""A writer of entries, and views that are closed at the end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consent_client import SuppressionView
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_runtime.keyring import Keyring
from tests.integration.gate.entries import Entries

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
def open_view(kafka: str, codec: Codec, topics: Topics) -> Iterator[OpenView]:
    """Opens a view of a channel, waiting until it is usable unless told not to."""
    views: list[SuppressionView] = []

    def open_(channel: str = "sms", *, wait: bool = True, **overrides: Any) -> SuppressionView:
        view = SuppressionView(channel, **{"topics": topics, "codec": codec, "bootstrap": kafka, **overrides})
        views.append(view)
        view.start()
        assert not wait or view.wait_until_usable(30)
        return view

    yield open_
    for view in views:
        view.close()
