"""`consent-relay doctor` names every wrong entry of the API's files, before a process goes on without it. # R45"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from consent_api.operations.doctor.entry import checks
from consent_privacy.keyring_file import generate
from consent_service.doctor.findings import CheckContext, Result
from local_stack.preference_centre import THEME


def test_each_wrong_entry_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(tmp_path / "keyring.toml", ["acme", "globex"])
    theme = yaml.safe_load(THEME)["acme"]
    source = {"provider": "brevo", "channel": "email", "secrets": [{"env": "ABSENT"}]}
    files = {
        "TENANT_PURPOSES": {"globex": {"purposes": ["Not a slug"]}},
        "THEME_FILE": {"acme": theme, "globex": theme, "initech": theme},
        "INBOUND_FILE": {"sources": [{"id": f"of-{tenant}", "tenant": tenant, **source} for tenant in ("acme", "x")]},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
        monkeypatch.setenv(f"CONSENT_RELAY_{name}", str(tmp_path / name))
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(tmp_path / "keyring.toml"))
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", "postgresql://role@host/database")
    monkeypatch.setenv("CONSENT_RELAY_PUBLIC_URL", "https://choices.example.com")
    [check] = [
        each for each in checks(CheckContext(processes=frozenset({"api"}), secret_days=365)) if "files" in each.name
    ]
    found = check.find()
    assert {each.result for each in found} == {Result.FAULT}
    assert [each.found.partition(": ")[0] for each in found] == [
        "CONSENT_RELAY_TENANT_PURPOSES",
        *["CONSENT_RELAY_THEME_FILE"] * 2,
        *["CONSENT_RELAY_INBOUND_FILE"] * 2,
    ]
    for each, named in zip(
        found, ("globex.purposes", "initech", "tenant globex while", "of-acme.secrets.0", "of-x.tenant"), strict=True
    ):
        assert named in each.found
