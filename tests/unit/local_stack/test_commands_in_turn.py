"""Several commands in one process."""

import os

import pytest

from local_stack.errors import StartFailedError
from local_stack.processes import run_cli


@pytest.mark.long
def test_each_command_answers_with_what_it_printed() -> None:
    first, second = run_cli.run([["--version"], ["keys", "create", "--help"]], os.environ)
    assert "consent-relay" in first
    assert "--tenant" in second


@pytest.mark.long
def test_a_command_that_fails_is_named_with_its_complaint() -> None:
    with pytest.raises(StartFailedError, match="keys create") as failed:
        run_cli.run([["keys", "create"]], os.environ)
    assert "--tenant" in str(failed.value)
