"""How a browser keeps its session, and which keys are still good. # R15"""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import Request

from consent_http import api_keys
from consent_http.api_keys import KeyFile
from status_page.entrance import Entrance
from status_page.sessions import Sessions


def request(scheme: str) -> Request:
    scope = {"type": "http", "scheme": scheme, "server": ("status", 80), "path": "/status/", "headers": []}
    return Request({**scope, "query_string": b""})


@pytest.mark.parametrize(
    ("scheme", "url", "is_bound"),
    [
        ("http", None, False),
        ("https", None, True),
        ("http", "https://status.example.com", True),
        ("http", "http://127.0.0.1:8083", False),
    ],
)
def test_behind_https_the_cookie_is_bound_to_the_host(
    tmp_path: Path, scheme: str, url: str | None, is_bound: bool
) -> None:
    file = tmp_path / "keys.json"
    api_keys.write(file, [])
    entrance = Entrance(KeyFile(file), Sessions(), url=url, explains=False)
    cookie = entrance.cookie(request(scheme)).set("t")
    assert cookie.startswith("__Host-status=t; ") is is_bound
    assert cookie.endswith("; Secure") is is_bound
    assert "HttpOnly; SameSite=Lax" in cookie


def test_a_key_is_good_as_long_as_the_file_has_it_with_the_scope(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    token, key = api_keys.mint(tenant="acme", scopes=["operate", "read"])
    _, other = api_keys.mint(tenant="acme", scopes=["read"])
    api_keys.write(file, [key, other])
    entrance = Entrance(KeyFile(file), Sessions(), url=None, explains=True)
    login = entrance.login(f" {token}\n")
    assert login is not None
    assert login.secret == token
    assert entrance.is_live(key)
    assert not entrance.is_live(other)
    api_keys.write(file, [other])
    assert not entrance.is_live(key)
    assert entrance.login(token) is None


def test_the_secret_of_a_key_that_may_not_explain_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    token, key = api_keys.mint(tenant="acme", scopes=["operate"])
    api_keys.write(file, [key])
    login = Entrance(KeyFile(file), Sessions(), url=None, explains=True).login(token)
    assert login is not None
    assert login.secret is None
