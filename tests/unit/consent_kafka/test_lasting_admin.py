"""An admin client that the broker refuses for its old leader epochs is replaced. # R43"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consent_kafka import clients

PLACE = TopicPartition("t", 0)


class Broker:
    """Answers each request with the next of these errors; None: an offset."""

    def __init__(self, *errors: int | None) -> None:
        self.errors = list(errors)
        self.asked_by: list[AdminClient] = []

    def list_offsets(self, client: AdminClient, *_: Any, **__: Any) -> dict[TopicPartition, Future[Any]]:
        self.asked_by.append(client)
        answer: Future[Any] = Future()
        error = self.errors.pop(0)
        if error is None:
            answer.set_result(7)
        else:
            answer.set_exception(KafkaException(KafkaError(error)))
        return {PLACE: answer}


def ask(monkeypatch: pytest.MonkeyPatch, *errors: int | None) -> list[AdminClient]:
    """Who asked, of as many requests as there are errors."""
    broker = Broker(*errors)
    monkeypatch.setattr(AdminClient, "list_offsets", lambda client, *a, **k: broker.list_offsets(client, *a, **k))
    admin = clients.admin("127.0.0.1:1", {"log_level": 0})
    for _ in errors:
        admin.list_offsets({PLACE: None})  # type: ignore[dict-item]
        admin.poll(0)
    return broker.asked_by


@pytest.mark.parametrize("code", [KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH])
def test_a_new_client_asks_after_a_refusal_for_the_leader_epoch(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    first, second, third, fourth = ask(monkeypatch, code, None, code, None)
    assert first is not second
    assert second is third
    assert third is not fourth


def test_any_other_error_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ask(monkeypatch, KafkaError.REQUEST_TIMED_OUT, None)
    assert first is second


def test_an_answer_yet_to_come_does_not_hold_the_client(monkeypatch: pytest.MonkeyPatch) -> None:  # R63
    answer: Future[Any] = Future()
    monkeypatch.setattr(AdminClient, "list_offsets", lambda *_, **__: {PLACE: answer})
    admin = clients.admin("127.0.0.1:1", {"log_level": 0})
    held = sys.getrefcount(admin)
    admin.list_offsets({PLACE: None})  # type: ignore[dict-item]
    assert sys.getrefcount(admin) == held


ABANDONED = """
import gc, threading
from confluent_kafka import TopicCollection
from consent_kafka import clients

gc.disable()
abandoned = [clients.admin("127.0.0.1:1", {"log_level": 0})]
abandoned.append(abandoned)
[answer] = abandoned[0].describe_topics(TopicCollection(["t"]), request_timeout=0.2).values()
# The answer comes in the client's own thread, and there the garbage collector meets the client.
collected = threading.Event()
answer.add_done_callback(lambda _: (gc.collect(), collected.set()))
del abandoned
assert collected.wait(30)
print("goes on")
"""


@pytest.mark.long
def test_a_client_that_is_garbage_ends_no_process() -> None:  # R63
    ran = subprocess.run([sys.executable, "-c", ABANDONED], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "goes on\n"), ran.stderr
