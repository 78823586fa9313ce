"""One check that hangs, throws or is refused stops no other, and counts as a fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from consent_service.doctor import runner
from consent_service.doctor.findings import Check, Finding, Result, exit_code
from consent_service.errors import LinkRefusedError


def finding(name: str, result: Result = Result.OK) -> Finding:
    return Finding(name=name, result=result, found="as it should be")


def well(name: str, *, after: tuple[str, ...] = (), result: Result = Result.OK) -> Check:
    return Check(name=name, find=lambda: [finding(name, result)], after=after)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What a check of the test hangs on, until the test has ended."""
    event = threading.Event()
    yield event
    event.set()


def hanging(name: str, released: threading.Event) -> Check:
    def find() -> Sequence[Finding]:
        released.wait()
        return []

    return Check(name=name, find=find, seconds=0.2)


def failing(name: str, error: BaseException) -> Check:
    def find() -> Sequence[Finding]:
        raise error

    return Check(name=name, find=find)


def test_a_check_that_hangs_is_given_up_and_the_others_are_made(released: threading.Event) -> None:
    outcome = runner.run([hanging("slow", released), well("quick")])
    assert [(each.name, each.result) for each in outcome.findings] == [
        ("slow", Result.NOT_CHECKED),
        ("quick", Result.OK),
    ]
    assert outcome.findings[0].found == "no result within 0.2 s"
    assert outcome.abandoned == ["slow"]
    assert exit_code(outcome.findings) == 2


@pytest.mark.parametrize("error", [ValueError("postgresql://role:secret@host"), SystemExit(2)])
def test_a_check_that_throws_is_not_checked_and_shows_no_value(error: BaseException) -> None:
    outcome = runner.run([failing("broken", error), well("other")])
    [broken, other] = outcome.findings
    assert (broken.result, other.result) == (Result.NOT_CHECKED, Result.OK)
    assert broken.found == f"the check failed ({type(error).__name__})"
    assert outcome.abandoned == []


def test_a_server_that_refuses_us_is_a_fault_with_its_message() -> None:
    [found] = runner.run([failing("kafka", LinkRefusedError("CONSENT_RELAY_KAFKA: correct the user"))]).findings
    assert (found.result, found.found) == (Result.FAULT, "CONSENT_RELAY_KAFKA: correct the user")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Result.OK, Result.OK),
        (Result.WARNING, Result.OK),
        (Result.NOT_CONFIGURED, Result.OK),
        (Result.FAULT, Result.NOT_CHECKED),
        (Result.NOT_CHECKED, Result.NOT_CHECKED),
    ],
)
def test_a_check_waits_for_another_and_is_not_made_after_its_fault(first: Result, second: Result) -> None:
    outcome = runner.run([well("topics", after=("kafka",)), well("kafka", result=first)])
    assert [(each.name, each.result) for each in outcome.findings] == [("topics", second), ("kafka", first)]
    if second is Result.NOT_CHECKED:
        assert (outcome.findings[0].found, outcome.findings[0].cure) == ("because of kafka", "mend kafka first")


def test_a_check_that_comes_after_one_that_is_not_made_here_is_made() -> None:
    assert [each.result for each in runner.run([well("lag", after=("kafka",))]).findings] == [Result.OK]


def test_progress_names_what_is_being_made(released: threading.Event) -> None:
    seen: list[tuple[int, tuple[str, ...]]] = []

    def progress(done: int, names: Sequence[str]) -> None:
        seen.append((done, tuple(names)))
        if done == 1:
            released.set()

    runner.run([replace(hanging("slow", released), seconds=30.0), well("quick")], progress=progress)
    assert (1, ("slow",)) in seen
    assert seen[-1] == (2, ())


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([], 0),
        ([Result.OK, Result.NOT_CONFIGURED], 0),
        ([Result.OK, Result.WARNING], 1),
        ([Result.WARNING, Result.FAULT], 2),
        ([Result.NOT_CHECKED], 2),
    ],
)
def test_the_exit_code_is_that_of_the_worst(results: list[Result], code: int) -> None:
    assert exit_code([finding("any", result) for result in results]) == code
