"""A batch that the provider refuses as a whole is split until the push that spoils it is alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from propagator.connectors.base import Accepted, Outcome, Push, Refused, Retryable
from propagator.connectors.bisect import BatchRefused, bisect_batch
from propagator.errors import DestinationDownError, SendNotAllowedError, ThrottledError

MakePush = Callable[..., Push]


class Provider:
    """Takes a call only if none of its pushes is invalid; `failures`: what to raise instead, by number of the call."""

    def __init__(self, *invalid: str, failures: dict[int, Exception] | None = None) -> None:
        self.invalid = invalid
        self.failures = failures or {}
        self.calls = 0

    async def attempt(self, part: Sequence[Push]) -> Sequence[Outcome] | BatchRefused:
        self.calls += 1
        if self.calls in self.failures:
            raise self.failures[self.calls]
        if any(each.push_id in self.invalid for each in part):
            return Refused(code="invalid")
        return [Accepted()] * len(part)


@pytest.mark.parametrize("number", range(1, 9))
async def test_only_the_push_that_spoils_the_call_is_refused(push: MakePush, number: int) -> None:
    pushes = [push(each) for each in range(1, 9)]
    provider = Provider(push(number).push_id)
    outcomes = await bisect_batch(pushes, provider.attempt)
    assert [isinstance(each, Refused) for each in outcomes] == [each == number for each in range(1, 9)]
    assert provider.calls == 7


async def test_a_refusal_that_meets_every_push_is_returned_for_each(push: MakePush) -> None:
    pushes = [push(each) for each in range(5)]
    outcomes = await bisect_batch(pushes, Provider(*[each.push_id for each in pushes]).attempt)
    assert outcomes == [Refused(code="invalid")] * 5


async def test_a_failure_of_the_first_call_is_the_calls(push: MakePush) -> None:
    for failure in (DestinationDownError("cut"), SendNotAllowedError()):
        with pytest.raises(type(failure)):
            await bisect_batch([push(1), push(2)], Provider(failures={1: failure}).attempt)


async def test_a_failure_before_any_push_is_settled_is_the_calls(push: MakePush) -> None:
    provider = Provider(push(1).push_id, failures={2: ThrottledError("throttled", retry_after=3)})
    with pytest.raises(ThrottledError):
        await bisect_batch([push(1), push(2)], provider.attempt)


async def test_a_later_failure_costs_only_the_pushes_without_an_outcome(push: MakePush) -> None:
    provider = Provider(push(4).push_id, failures={3: ThrottledError("throttled", retry_after=3)})
    outcomes = await bisect_batch([push(each) for each in range(1, 5)], provider.attempt)
    rest = Retryable(reason="throttled", after_seconds=3, call_failed=True, throttled=True)
    assert outcomes == [Accepted(), Accepted(), rest, rest]


async def test_what_was_executed_before_the_guard_refused_is_not_reported_as_not_sent(push: MakePush) -> None:
    """A permission that counts as not sent would later be taken for a suppression that the provider still has."""
    provider = Provider(push(4).push_id, failures={3: SendNotAllowedError()})
    outcomes = await bisect_batch([push(each) for each in range(1, 5)], provider.attempt)
    rest = Retryable(reason="not_allowed", call_failed=True)
    assert outcomes == [Accepted(), Accepted(), rest, rest]


@pytest.mark.parametrize("refusal", [Refused(code="invalid"), Retryable(reason="http_400")])
async def test_bisecting_ends_once_two_single_pushes_are_refused_alike(
    push: MakePush, refusal: Refused | Retryable
) -> None:
    calls = 0

    async def attempt(_part: Sequence[Push]) -> BatchRefused:
        nonlocal calls
        calls += 1
        return refusal

    outcomes = await bisect_batch([push(each) for each in range(1_000)], attempt)
    given = replace(refusal, refused=True) if isinstance(refusal, Retryable) else refusal
    assert outcomes == [given] * 1_000
    assert calls <= 22


@pytest.mark.parametrize("first", [0, 1, 250, 499, 500, 998])
async def test_two_invalid_neighbours_are_not_taken_for_a_refusal_of_everything(push: MakePush, first: int) -> None:
    pushes = [push(each) for each in range(1_000)]
    invalid = {first, first + 1}
    outcomes = await bisect_batch(pushes, Provider(*[pushes[each].push_id for each in invalid]).attempt)
    assert {at for at, each in enumerate(outcomes) if isinstance(each, Refused)} == invalid
    assert sum(isinstance(each, Accepted) for each in outcomes) == 998


async def test_single_pushes_that_are_refused_for_different_reasons_end_nothing(push: MakePush) -> None:
    pushes = [push(each) for each in range(4)]

    async def attempt(part: Sequence[Push]) -> Sequence[Outcome] | BatchRefused:
        if pushes[0] in part:
            return Refused(code="invalid")
        if pushes[2] in part:
            return Retryable(reason="http_413")
        return [Accepted()] * len(part)

    outcomes = await bisect_batch(pushes, attempt)
    refused = Retryable(reason="http_413", refused=True)
    assert outcomes == [Refused(code="invalid"), Accepted(), refused, Accepted()]


async def test_a_single_push_that_is_refused_says_nothing_of_others(push: MakePush) -> None:
    async def attempt(_part: Sequence[Push]) -> BatchRefused:
        return Retryable(reason="http_400")

    assert await bisect_batch([push(1)], attempt) == [Retryable(reason="http_400")]
