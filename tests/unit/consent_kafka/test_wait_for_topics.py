"""A process waits for a broker that does not answer, and says why; wrong topics end the wait."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from consent_kafka import provisioning
from consent_kafka.errors import ProvisionError, TopicMismatchError
from consent_service.retry import Backoff

NO_ANSWER = ProvisionError("kafka does not answer")


class Broker:
    """Takes the place of `verify_topics`: raises what it is given, one a call, then answers that all is well."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    def __call__(self, *_: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)


def wait(
    monkeypatch: pytest.MonkeyPatch, broker: Broker, stop: threading.Event | None = None
) -> tuple[bool, list[str]]:
    reasons: list[str] = []
    monkeypatch.setattr(provisioning, "verify_topics", broker)
    monkeypatch.setattr(provisioning, "BACKOFF", Backoff((0.001,)))
    settings: Any = None
    found = provisioning.wait_for_topics(settings, ["t"], stop=stop or threading.Event(), waiting=reasons.append)
    return found, reasons


def test_each_try_is_preceded_by_the_reason_of_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert wait(monkeypatch, Broker(NO_ANSWER, NO_ANSWER)) == (True, ["", str(NO_ANSWER), str(NO_ANSWER)])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_wrong_topics_are_no_reason_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TopicMismatchError):
        wait(monkeypatch, Broker(NO_ANSWER, TopicMismatchError("t: no such topic")))


def test_a_stop_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    stop.set()
    assert wait(monkeypatch, Broker(), stop) == (False, [""])
