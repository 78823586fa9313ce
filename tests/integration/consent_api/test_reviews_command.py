"""`consent-relay reviews`: the list of replies in doubt, and what a person decides about one."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import URL, Engine

from consent_api.cli.reviews import reviews as command
from consent_api.http import app
from consent_api.ledger import reviews
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.reviews import NewReview
from consent_api.rights import audit
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros


@pytest.fixture
def run(ledger: Ledger, service: URL, keyring_file: Path, monkeypatch: pytest.MonkeyPatch) -> CommandRun:
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", service.render_as_string(hide_password=False))
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(keyring_file))
    monkeypatch.setattr(app, "connect_ledger", lambda _, **__: ledger)
    return CommandRun()


class CommandRun:
    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, [*arguments, "--tenant", "acme"])


def test_the_list_is_printed_and_a_review_is_resolved(run: CommandRun, owner_engine: Engine, keyring: Keyring) -> None:
    ids = sorted(str(uuid4()) for _ in range(reviews.PAGE + 1))
    with owner_engine.begin() as connection:
        new = [
            NewReview(
                tenant="acme", channel="sms", source="twilio", rule="r", decision_ids=[each], reply="non\t\x1b[2J"
            )
            for each in ids
        ]
        reviews.insert(connection, keyring, new, now=now_micros())
    listed = run("list").output.splitlines()
    assert [line.split("\t")[0] for line in listed] == ids
    assert "\x1b" not in listed[0]
    assert run("resolve", ids[0], "--withdrawal", "--by", "ada").output.startswith("withdrawal: 0 ")
    with owner_engine.connect() as connection:
        [entry] = audit.entries(connection, audit.Filter(tenant="acme"))
    assert (entry.act, entry.object_id, entry.who) == ("review_resolved", ids[0], audit.by_operator())
    again = run("resolve", ids[0], "--not-a-withdrawal", "--by", "ada")
    assert again.exit_code == 1
    assert "resolved otherwise" in again.output
    assert run("resolve", str(uuid4()), "--withdrawal", "--by", "ada").exit_code == 1
    assert run("resolve", ids[1], "--by", "ada").exit_code == 2
    assert len(run("list").output.splitlines()) == reviews.PAGE
