"""Which certificates of the database's connection a process reports on: those that its URL names. # R40"""

from __future__ import annotations

from pathlib import Path

import pytest

from consent_api.settings import LedgerSettings
from consent_service.settings import read


@pytest.mark.parametrize(
    ("query", "certificate", "authorities"),
    [
        ("", None, None),
        ("?sslmode=verify-full&sslrootcert=system", None, None),
        ("?sslrootcert=/run/ca.pem", None, Path("/run/ca.pem")),
        ("?sslcert=/run/api.pem&sslkey=/run/api.key", Path("/run/api.pem"), None),
    ],
)
def test_what_the_url_of_the_database_names(
    monkeypatch: pytest.MonkeyPatch, query: str, certificate: Path | None, authorities: Path | None
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", f"postgresql://relay@127.0.0.1/ledger{query}")
    settings = read(LedgerSettings)
    assert settings.certificate_files["database-certificate"] == certificate
    assert settings.authority_files["database-authorities"] == authorities
    assert {"kafka-certificate", "registry-certificate"} < settings.certificate_files.keys()
    assert {"kafka-authorities", "registry-authorities"} < settings.authority_files.keys()
