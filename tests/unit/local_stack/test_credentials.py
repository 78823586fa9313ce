"""What is kept of a local system from start to start."""

import json
from pathlib import Path

from local_stack.credentials import SCOPES, Credentials


def test_keys_of_an_earlier_version_are_known_for_such(tmp_path: Path) -> None:
    """Their scopes are not those of today, so that new keys are made."""
    file = tmp_path / "access.json"
    kept = {"role": "r", "password": "p", "api_key": "cr_a", "check_key": "cr_c"}
    file.write_text(json.dumps(kept))
    earlier = Credentials.read(file)
    assert earlier is not None
    assert tuple(earlier.scopes) != SCOPES
    Credentials(**kept, scopes=SCOPES).write(file)
    again = Credentials.read(file)
    assert again is not None
    assert tuple(again.scopes) == SCOPES
