"""Metrics, settings and commands that README.md and docs name are there."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = {"metrics.md", "settings.md", "benchmarks.md"}
PAGES = [ROOT / "README.md", *(each for each in sorted((ROOT / "docs").glob("*.md")) if each.name not in GENERATED)]
METRICS = set(re.findall(r"consent_relay_[a-z_]+", (ROOT / "docs" / "metrics.md").read_text("utf-8")))
SETTINGS = set(re.findall(r"CONSENT_RELAY_[A-Z_]+", (ROOT / "docs" / "settings.md").read_text("utf-8")))
LOCAL = {"CONSENT_RELAY_DATABASE"}
"""Of `up` and `demo` alone."""
COMMANDS = {each.name for each in entry_points(group="consent_relay.commands")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    assert set(re.findall(r"consent_relay_[a-z_]*[a-z]", text)) <= METRICS
    named = {each.removesuffix("_FILE") for each in re.findall(r"CONSENT_RELAY_[A-Z_]*[A-Z]", text)}
    assert named <= {each.removesuffix("_FILE") for each in SETTINGS} | LOCAL
    assert set(re.findall(r"consent-relay ([a-z]+(?:-[a-z]+)*)(?=[ `)])", text)) <= COMMANDS
