"""`consent-relay doctor` over secured links: as which user, and what it says where that may too little."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.security.secured import Secured


@pytest.fixture(scope="module")
def migrated(secured: Secured) -> Secured:
    """`consent-relay migrate` by TLS."""
    ended = secured.run("api", "migrate")
    assert ended.returncode == 0, ended.stderr
    return secured


def examined(secured: Secured, user: str, process: str, **changes: str) -> dict[str, Any]:
    """The findings by name, of which each has one here."""
    ended = secured.run(user, "doctor", "--process", process, "--json", **changes)
    assert ended.stderr == ""
    password = secured.passwords[user]
    assert password not in ended.stdout
    document = json.loads(ended.stdout)
    assert ended.returncode == document["exit_code"]
    return {each["name"]: each for each in document["findings"]}


def test_a_process_is_checked_as_its_own_user(migrated: Secured) -> None:  # R42
    found = examined(migrated, "relay", "relay")
    assert {
        name: found[name]["result"] for name in ("kafka", "topics", "access of relay", "registry", "database role")
    } == {
        "kafka": "ok",
        "topics": "ok",
        "access of relay": "ok",
        "registry": "ok",
        "database role": "ok",
    }
    # Authorities and certificates of tests live for a day.
    for name in ("certificate files", "certificates of servers", "certificates of the database"):
        assert found[name]["result"] == "warning"
        assert "ends in 1 days" in found[name]["found"]


def test_a_user_that_may_too_little_is_named_with_the_right_that_it_lacks(migrated: Secured) -> None:  # R42
    found = examined(migrated, "gate", "relay")
    assert found["access of relay"]["result"] == "fault"
    assert "does not grant Write and DescribeConfigs on topic" in found["access of relay"]["found"]


def test_a_refused_password_is_named_and_the_others_are_checked(migrated: Secured) -> None:  # R42
    found = examined(migrated, "relay", "relay", kafka_sasl_username="gate")
    assert found["kafka"]["result"] == "fault"
    assert found["kafka"]["found"].startswith("CONSENT_RELAY_KAFKA_SASL_USERNAME, CONSENT_RELAY_KAFKA_SASL_PASSWORD: ")
    assert (found["topics"]["result"], found["topics"]["found"]) == ("not checked", "because of kafka")
    assert found["registry"]["result"] == "ok"
