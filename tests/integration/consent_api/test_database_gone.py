"""A command whose database does not answer, or holds no ledger yet, ends with one line and code 1."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from consent_contracts.topics import Topics
from local_stack.servers import ServerEndpoints


@pytest.mark.parametrize(
    "words",
    [
        ("migrate",),
        ("keys", "list"),
        ("keys", "create", "--tenant", "acme", "--scope", "read", "--name", "me"),
        ("keys", "revoke", "0123456789ab"),
        ("audit", "list"),
        ("explain", "--channel", "sms", "--purpose", "promotions"),
        ("notices", "list", "--tenant", "acme"),
        ("renewals", "list", "--tenant", "acme"),
    ],
    ids=" ".join,
)
def test_one_line_names_the_setting_and_the_reason(
    words: tuple[str, ...], servers: ServerEndpoints, keyring_file: Path, tmp_path: Path
) -> None:
    ends_with_one_line(words, servers, keyring_file, tmp_path, prefix="")


def test_those_that_need_schemas_do_too(
    servers: ServerEndpoints, topics: Topics, keyring_file: Path, tmp_path: Path
) -> None:
    for words in (
        ("republish", "--dry-run"),
        ("republish",),
        ("rights", "list", "--state", "open"),
        ("reviews", "list", "--tenant", "acme"),
    ):
        ends_with_one_line(words, servers, keyring_file, tmp_path, prefix=topics.prefix)


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "list"),
        ("audit", "list"),
        ("explain", "--channel", "sms", "--purpose", "promotions"),
        ("notices", "list", "--tenant", "acme"),
        ("renewals", "list", "--tenant", "acme"),
    ],
    ids=" ".join,
)
def test_a_database_before_its_first_migration_is_named_with_the_cure(
    words: tuple[str, ...], servers: ServerEndpoints, database: str, keyring_file: Path, tmp_path: Path
) -> None:
    line = only_line(words, servers, keyring_file, tmp_path, prefix="", database=database)
    assert "the database has no current ledger: run consent-relay migrate" in line


def ends_with_one_line(
    words: tuple[str, ...], servers: ServerEndpoints, keyring_file: Path, tmp_path: Path, *, prefix: str
) -> None:
    nowhere = "postgresql://service:hush-77@127.0.0.1:1/consent_relay"
    line = only_line(words, servers, keyring_file, tmp_path, prefix=prefix, database=nowhere)
    assert "does not answer" in line
    assert "hush-77" not in line


def only_line(
    words: tuple[str, ...], servers: ServerEndpoints, keyring_file: Path, tmp_path: Path, *, prefix: str, database: str
) -> str:
    """Of standard error; it names the setting."""
    url = database.replace("+psycopg", "")
    done = subprocess.run(
        [sys.executable, "-m", "consent_service", *words],
        input="+33639980001\n",
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "CONSENT_RELAY_KAFKA": servers.kafka,
            "CONSENT_RELAY_REGISTRY": servers.registry,
            "CONSENT_RELAY_API_DATABASE": url,
            "CONSENT_RELAY_API_DATABASE_OWNER": url.replace("//service:", "//owner:"),
            "CONSENT_RELAY_KEYRING_FILE": str(keyring_file),
            "CONSENT_RELAY_TOPIC_PREFIX": prefix,
            "CONSENT_RELAY_STATE_DIR": str(tmp_path),
        },
    )
    [line] = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("Error: CONSENT_RELAY_API_DATABASE")
    return line
