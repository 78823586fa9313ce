"""An answer lists a hundred faults at most, however many there are (R15)."""

import msgspec
import pytest

from consent_api.domain.validation import ValidationRules, validate
from consent_api.errors import FieldViolation, SubmissionInvalidError
from consent_api.http import rendering

FAULT = FieldViolation(pointer="/status", code="missing", cure="send status")


def refused(faults: int) -> tuple[SubmissionInvalidError, tuple[FieldViolation, ...]]:
    return SubmissionInvalidError([FAULT] * faults), ()


@pytest.mark.parametrize(
    ("counts", "listed"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([200], [100]),
        ([60, 60], [60, 40]),
        ([99, 1, 5], [98, 1, 1]),
        ([1] * 150, [1] * 100 + [0] * 50),
        ([0, 5, 0, 200], [0, 5, 0, 95]),
    ],
)
def test_the_first_fault_of_each_is_listed_before_the_second_of_any(counts: list[int], listed: list[int]) -> None:
    answer = rendering.to_batch_response([refused(count) for count in counts], bulk=False)
    assert [len(each.errors or ()) for each in answer.results] == listed
    assert answer.faults_not_listed == sum(counts) - sum(listed)


@pytest.mark.long
def test_a_batch_of_unknown_members_has_a_short_answer() -> None:
    rules = ValidationRules(channels=("sms",), default_region="FR")
    results: list[rendering.Result] = []
    for number in range(1_000):
        with pytest.raises(SubmissionInvalidError) as caught:
            validate(
                {f"f_{chr(97 + at % 26) * (1 + at // 26)}": number for at in range(60)}, tenant="t", rules=rules, now=1
            )
        results.append((caught.value, ()))
    assert len(msgspec.json.encode(rendering.to_batch_response(results, bulk=True))) < 100_000


def test_one_decision_lists_a_hundred_too() -> None:
    problem = rendering.validation_problem((FAULT,) * 1_000)
    assert len(problem.errors) == 100
    assert "1000 part(s)" in problem.detail
