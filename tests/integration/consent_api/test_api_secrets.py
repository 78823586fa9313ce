"""Secrets of a running API are replaced: link keys, a tool's webhook secret. A bad file in between harms nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from consent_api.links.token import Link, LinkKind, Links
from consent_privacy import keyring_file as keyrings
from consent_privacy.keyring import Keyring
from tests.integration.consent_api.test_api_process import Environment, api, environment
from tests.support import provider_webhooks as sent
from tests.support.waiting import until

__all__ = ["api", "environment"]

LINK = Link(tenant="acme", kind=LinkKind.PREFERENCES, channel="sms", address="+33639980001")
FIRST, SECOND = sent.secret(), sent.secret()


@pytest.fixture
def own_keyring(environment: Environment, tmp_path: Path) -> Path:
    """A keyring that this test may change."""
    path = tmp_path / "own.toml"
    keyrings.generate(path, ["acme"])
    environment["CONSENT_RELAY_KEYRING_FILE"] = str(path)
    environment["CONSENT_RELAY_PUBLIC_URL"] = "https://choices.example.com"
    return path


@pytest.fixture
def mounted(environment: Environment, tmp_path: Path) -> Callable[[str], None]:
    """Mounts the secret of a source as Kubernetes does: a link into `..data`, which is replaced by a rename."""
    folder = tmp_path / "secrets"
    folder.mkdir()

    def mount(secret: str) -> None:
        revision = folder / f"..{sum(1 for _ in folder.iterdir())}"
        revision.mkdir()
        (revision / "tool").write_text(secret)
        (folder / "..data_tmp").symlink_to(revision.name)
        (folder / "..data_tmp").replace(folder / "..data")

    mount(FIRST)
    (folder / "tool").symlink_to("..data/tool")
    source = {"id": "tool", "provider": "brevo", "channel": "email", "secrets": [{"file": str(folder / "tool")}]}
    (tmp_path / "inbound.yaml").write_text(yaml.safe_dump({"sources": [source]}))
    environment["CONSENT_RELAY_INBOUND_FILE"] = str(tmp_path / "inbound.yaml")
    return mount


def page(environment: Environment, path: str) -> str:
    return httpx.get(f"http://127.0.0.1:{environment['CONSENT_RELAY_METRICS_PORT']}{path}", timeout=10).text


def opens(environment: Environment, token: str) -> bool:
    url = f"http://127.0.0.1:{environment['CONSENT_RELAY_API_PORT']}/p/{token}"
    return httpx.get(url, timeout=10).status_code == 200


def failures(environment: Environment, secret: str) -> float:
    name = f'consent_relay_secret_file_reload_errors_total{{secret="{secret}"}} '
    [line] = [each for each in page(environment, "/metrics").splitlines() if each.startswith(name)]
    return float(line.removeprefix(name))


def test_link_keys_are_rotated_and_secrets_of_tools_replaced_while_the_api_runs(
    own_keyring: Path, mounted: Callable[[str], None], environment: Environment, request: pytest.FixtureRequest
) -> None:
    process: subprocess.Popen[bytes] = request.getfixturevalue("api")
    first = Links(lambda: Keyring.load(own_keyring)).token(LINK)
    assert opens(environment, first)

    good = own_keyring.read_text()
    own_keyring.write_text("[[half a fi")
    until(lambda: failures(environment, "keyring") >= 1)
    assert "secret keyring" in page(environment, "/readyz")
    assert page(environment, "/readyz").startswith("ok\n")
    assert opens(environment, first)

    own_keyring.write_text(good)
    keyrings.add_link_key(own_keyring, "acme")
    keyrings.promote_link_key(own_keyring, "acme", "l2")
    newer = Keyring.load(own_keyring)
    second = Links(lambda: newer).token(LINK)
    until(lambda: opens(environment, second))
    assert opens(environment, first)
    keyrings.retire_link_key(own_keyring, "acme", "l1")
    until(lambda: not opens(environment, first))
    assert opens(environment, second)

    def received(secret: str) -> int:
        url = f"http://127.0.0.1:{environment['CONSENT_RELAY_API_PORT']}/v1/inbound/tool"
        event = {"event": "list_addition", "email": "a@example.com", "ts_epoch": 1_760_000_000_000}
        return httpx.post(url, json=event, headers={"Authorization": f"Bearer {secret}"}, timeout=10).status_code

    assert received(FIRST) == 200
    assert received(SECOND) != 200
    mounted("short")
    until(lambda: failures(environment, "inbound-tool") >= 1)
    assert received(FIRST) == 200
    mounted(SECOND)
    until(lambda: received(SECOND) == 200)
    assert received(FIRST) != 200
    until(lambda: page(environment, "/readyz") == "ok\n")
    assert process.poll() is None
