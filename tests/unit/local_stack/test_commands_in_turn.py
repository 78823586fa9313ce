"""Several commands in one process."""

import os

import pytest

from local_stack import commands
from local_stack.errors import StartFailed


def test_each_command_answers_with_what_it_printed() -> None:
    first, second = commands.run([["--version"], ["keys", "create", "--help"]], os.environ)
    assert "consent-relay" in first
    assert "--tenant" in second


def test_a_command_that_fails_is_named_with_its_complaint() -> None:
    with pytest.raises(StartFailed, match="keys create") as failed:
        commands.run([["keys", "create"]], os.environ)
    assert "--tenant" in str(failed.value)
