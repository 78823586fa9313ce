"""What an accepted suppression binds at a tool is said once, and read wherever people look. # R28"""

from __future__ import annotations

from pathlib import Path

import pytest

from propagator.connectors import CATALOGUE
from propagator.connectors.base import MAX_IN_FORCE

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
TARGETS = {
    "twilio": ("MG" + "1" * 32, "+33939980001", "38200"),
    "sendgrid": ("101", "global"),
    "genesys": ("00000000-0000-4000-8000-000000000001",),
    "webhook": ("newsletter",),
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_connector_says_what_is_in_force_as_the_page_does(name: str) -> None:
    page = PAGE.read_text("utf-8")
    for target in TARGETS[name]:
        sentence = CATALOGUE[name].in_force(target)
        assert 0 < len(sentence) <= MAX_IN_FORCE
        assert f"| {sentence} |" in page


def test_a_group_of_sendgrid_binds_less_than_the_global_list() -> None:
    in_force = CATALOGUE["sendgrid"].in_force
    assert "only mail that is tagged" in in_force("101")
    assert "all mail" in in_force("global")
