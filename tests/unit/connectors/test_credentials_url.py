"""Credentials go over TLS, but to this machine. # R26 R42"""

from __future__ import annotations

from typing import Any

import pytest

from consent_http.ssrf import credentials_url_error
from propagator.connectors import CATALOGUE
from propagator.connectors.base import ConnectionSettings
from propagator.errors import MisconfiguredError
from tests.support.tables import each_of

REFUSED = [
    "http://api.example.com", "http://10.0.0.1", "http://192.168.1.1:8080/x", "http://sandbox:8090",
    "http://localhost.example",
    "http://localhost@example.com", "http://127.0.0.1@example.com", "http://127.0.0.1#@example.com", "http://[2001:db8::1]",
    "http://127.0.0.1.example.com", "http://\uff11\uff12\uff17.0.0.1",
    "http://localhost\\@example.com", "http://0.0.0.0", "http://[::]",
    "https://2130706433", "https://10.1", "https://0x7f.1", "http://127.0.0.1.",
    "ftp://127.0.0.1", "https://user:secret@example.com", "HTTP://example.com", "//example.com", "http://",
]  # fmt: skip
PERMITTED = [
    "https://api.example.com", "https://10.0.0.1/x", "https://example.com:8443", "http://127.0.0.1:8090/twilio",
    "http://127.0.0.2", "http://[::1]:8090", "http://localhost:8090", "HTTPS://api.example.com",
    "https://4711.example.com", "https://api.2x", "https://0xab.example",
]  # fmt: skip


def connection(name: str, url: str, **options: Any) -> ConnectionSettings:
    made = CATALOGUE[name]
    return ConnectionSettings(
        destination="x",
        tenant="acme",
        channel="voice",
        url=url,
        credentials=dict.fromkeys(made.credentials, "x"),
        options={each: option.default for each, option in made.options.items() if option.default is not None} | options,
        targets=(),
    )


@each_of("name", ["twilio", "sendgrid", "genesys"])
@each_of("url", REFUSED)
def test_a_provider_that_is_sent_credentials_is_called_over_tls(name: str, url: str) -> None:
    assert credentials_url_error(url) is not None
    with pytest.raises(MisconfiguredError) as refused:
        CATALOGUE[name].build(connection(name, url))
    assert "secret" not in str(refused.value)


@each_of("name", ["twilio", "sendgrid", "genesys"])
@each_of("url", PERMITTED)
def test_or_on_this_machine(name: str, url: str) -> None:
    assert credentials_url_error(url) is None
    CATALOGUE[name].build(connection(name, url))


def test_tokens_come_over_tls_too() -> None:
    with pytest.raises(MisconfiguredError, match="login_url"):
        CATALOGUE["genesys"].build(
            connection("genesys", "https://api.example.com", login_url="http://login.example.com")
        )
