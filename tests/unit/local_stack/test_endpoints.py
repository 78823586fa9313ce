"""What `consent-relay up` leaves behind for programs and shells."""

import subprocess
from pathlib import Path

from local_stack.endpoints import Endpoints

ENDPOINTS = Endpoints(
    kafka="127.0.0.1:9092",
    registry="http://127.0.0.1:8081",
    database="postgresql+psycopg://owner:secret@127.0.0.1/consent_relay",
    api="http://127.0.0.1:8080",
    gate="http://127.0.0.1:8082",
    sandbox="http://127.0.0.1:8090",
    metrics={},
    tenant="acme",
    api_key="cr_submit",
    check_key="cr_check",
    keyring_file="keyring.toml",
    destinations_file="destinations.yaml",
    topic_prefix="",
    logs="logs",
    pids={},
)


def test_a_shell_gets_the_addresses_the_keys_the_settings_and_the_command(tmp_path: Path) -> None:
    file = tmp_path / "env.sh"
    ENDPOINTS.write_environment(file, {"CONSENT_RELAY_KEYRING_FILE": "/a directory/it's.toml"})
    asked = 'set -eu; . "$1"; printf "%s\\n" "$API" "$GATE" "$API_KEY" "$CHECK_KEY" "$CONSENT_RELAY_KEYRING_FILE"'
    shown = f"{asked}; command -v consent-relay >/dev/null"
    ended = subprocess.run(["sh", "-c", shown, "sh", str(file)], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8082",
        "cr_submit",
        "cr_check",
        "/a directory/it's.toml",
    ]
    assert file.stat().st_mode & 0o077 == 0
