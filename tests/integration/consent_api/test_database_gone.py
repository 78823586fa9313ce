"""A command whose database does not answer ends with one line and code 1."""

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
    ],
    ids=" ".join,
)
def test_one_line_names_the_setting_and_the_reason(
    words: tuple[str, ...], servers: ServerEndpoints, keyring_file: Path, tmp_path: Path
) -> None:
    ends_with_one_line(words, servers, keyring_file, tmp_path, prefix="")


def test_a_republish_does_too(servers: ServerEndpoints, topics: Topics, keyring_file: Path, tmp_path: Path) -> None:
    for words in (("republish", "--dry-run"), ("republish",)):
        ends_with_one_line(words, servers, keyring_file, tmp_path, prefix=topics.prefix)


def ends_with_one_line(
    words: tuple[str, ...], servers: ServerEndpoints, keyring_file: Path, tmp_path: Path, *, prefix: str
) -> None:
    nowhere = "postgresql://{}:hush-77@127.0.0.1:1/consent_relay"
    done = subprocess.run(
        [sys.executable, "-m", "consent_service", *words],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "CONSENT_RELAY_KAFKA": servers.kafka,
            "CONSENT_RELAY_REGISTRY": servers.registry,
            "CONSENT_RELAY_API_DATABASE": nowhere.format("service"),
            "CONSENT_RELAY_API_DATABASE_OWNER": nowhere.format("owner"),
            "CONSENT_RELAY_KEYRING_FILE": str(keyring_file),
            "CONSENT_RELAY_TOPIC_PREFIX": prefix,
            "CONSENT_RELAY_STATE_DIR": str(tmp_path),
        },
    )
    [line] = done.stderr.splitlines()
    assert done.returncode == 1
    assert "does not answer" in line
    assert "hush-77" not in line
