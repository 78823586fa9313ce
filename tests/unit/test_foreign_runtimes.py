"""What is left out where a runtime is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.foreign_runtimes import left_out, runtime

TESTS = Path(__file__).parents[1]


def test_a_runtime_that_is_missing_leaves_out_its_tests_in_ci_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.skip.Exception, match="not installed: no-such-program"):
        runtime("no-such-program")


def test_the_end_of_a_run_names_what_was_left_out() -> None:
    reasons = ["Skipped: not installed: npm", "Skipped: not installed: go", "Skipped: not installed: npm"]
    assert left_out(reasons) == ["NOT RUN: not installed: go (tests: 1)", "NOT RUN: not installed: npm (tests: 2)"]
    assert left_out([]) == []


def test_nothing_else_is_ever_skipped() -> None:
    leaving_out = re.compile(r"pytest\.skip\(|mark\.skip|importorskip|mark\.xfail|pytest\.xfail\(")
    found = {file.name for file in TESTS.rglob("*.py") if leaving_out.search(file.read_text("utf-8"))}
    assert found == {"foreign_runtimes.py", "debian.py", Path(__file__).name}
