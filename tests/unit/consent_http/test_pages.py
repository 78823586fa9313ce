"""What a browser holds of a session, what its forms carry, and what pages may load."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from consent_http import pages
from consent_http.pages import Cookie

TOKEN, OTHER = "a-token-of-a-session", "the-token-of-another"


def test_a_cookie_is_out_of_reach_of_scripts_other_sites_and_other_hosts() -> None:
    by_https = Cookie(of="console", secure=True)
    assert by_https.name == "__Host-console"
    assert by_https.set("t") == "__Host-console=t; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert Cookie(of="console", secure=False).set("t") == "console=t; Path=/; HttpOnly; SameSite=Strict"
    assert "Max-Age=0" in by_https.clear()


def test_a_cookie_of_a_page_that_others_link_to_is_lax() -> None:
    assert Cookie(of="status", secure=False, same_site="Lax").set("t") == "status=t; Path=/; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize("scripts", [False, True])
def test_a_page_loads_nothing_from_other_hosts(scripts: bool) -> None:
    policy = pages.headers_of("p{}", scripts=scripts)["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert ("script-src 'self'; connect-src 'self';" in policy) is scripts


def test_the_token_of_a_form_is_of_its_session_and_its_action_alone() -> None:
    sent = pages.form_token(TOKEN, "agent")
    assert pages.is_form_token(sent, TOKEN, "agent")
    for wrong in ("", "x", sent[:-1], sent + "0", sent.upper(), "\udcff", "é"):
        assert not pages.is_form_token(wrong, TOKEN, "agent")
    assert not pages.is_form_token(sent, OTHER, "agent")
    assert not pages.is_form_token(sent, TOKEN, "review")
    assert TOKEN not in sent


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({"sec-fetch-site": "same-origin", "origin": "https://console.example.com", "host": "10.0.0.1:8080"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://console.example.com", "host": "console.example.com"}, True),
        ({"origin": "https://evil.example", "host": "console.example.com"}, False),
        ({"origin": "null", "host": "console.example.com"}, False),
        ({"host": "console.example.com"}, True),
    ],
)
def test_a_form_of_another_site_is_known(headers: Mapping[str, str], is_own: bool) -> None:
    assert pages.is_own_page(headers) is is_own
