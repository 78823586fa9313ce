"""What a process reports of the entries that it does not use. # R45"""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from consent_service.health import Health
from consent_service.wrong_entries import WrongEntries, WrongEntry, refuse

THEMES, SOURCES = "CONSENT_RELAY_THEME_FILE", "CONSENT_RELAY_INBOUND_FILE"
WRONG = WrongEntry(setting=THEMES, entry="globex", why="names a file that is wrong at globex.name: too long")


def test_a_wrong_entry_is_in_the_log_on_the_health_page_and_in_a_metric(caplog: pytest.LogCaptureFixture) -> None:
    registry, health = CollectorRegistry(), Health()
    report = WrongEntries(registry, health, settings=(THEMES, SOURCES))

    def counted(setting: str) -> float | None:
        return registry.get_sample_value("consent_relay_wrong_entries", {"setting": setting})

    assert (counted(THEMES), counted(SOURCES)) == (0, 0)
    with caplog.at_level(logging.ERROR):
        report(WRONG)
    assert (counted(THEMES), counted(SOURCES)) == (1, 0)
    assert health.notes() == [
        "CONSENT_RELAY_THEME_FILE globex: not in use: names a file that is wrong at globex.name: too long"
    ]
    assert health.readiness() == (True, [])
    assert [record.message for record in caplog.records] == ["an entry is wrong and not in use"]
    report(replace(WRONG, entry="acme"))
    report.mended(THEMES, "globex")
    assert (counted(THEMES), counted(SOURCES)) == (1, 0)
    assert [note.partition(": ")[0] for note in health.notes()] == ["CONSENT_RELAY_THEME_FILE acme"]


def test_what_checks_a_file_refuses_it() -> None:
    with pytest.raises(ValueError, match=r"wrong at globex\.name"):
        refuse(WRONG)
