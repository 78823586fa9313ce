"""What a browser holds of a session of the console, and what its forms carry."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from consent_api.console import sessions
from consent_api.console.sessions import PAGE_MICROS, Cookie, Subject
from consent_privacy.keyring import Keyring

NOW = 1_760_000_000_000_000
TOKEN, OTHER = "a-token-of-a-session", "the-token-of-another"
ADDRESS = Subject(address="+33639980001", channels=("sms", "voice"))


def test_a_cookie_is_out_of_reach_of_scripts_other_sites_and_other_hosts() -> None:
    by_https = Cookie(secure=True)
    assert by_https.name == "__Host-console"
    assert by_https.set("t") == "__Host-console=t; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert Cookie(secure=False).set("t") == "console=t; Path=/; HttpOnly; SameSite=Strict"
    assert "Max-Age=0" in by_https.clear()


def test_the_token_of_a_form_is_of_its_session_and_its_action_alone() -> None:
    sent = sessions.form_token(TOKEN, "agent")
    assert sessions.is_form_token(sent, TOKEN, "agent")
    for wrong in ("", "x", sent[:-1], sent + "0", sent.upper(), "\udcff", "é"):
        assert not sessions.is_form_token(wrong, TOKEN, "agent")
    assert not sessions.is_form_token(sent, OTHER, "agent")
    assert not sessions.is_form_token(sent, TOKEN, "review")
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
    assert sessions.is_own_page(headers) is is_own


def test_the_id_of_a_page_opens_in_its_session_alone_and_not_for_long(keyring: Keyring) -> None:
    page_id = sessions.seal(keyring, TOKEN, ADDRESS, now=NOW)
    assert sessions.unseal(keyring, TOKEN, page_id, now=NOW + PAGE_MICROS - 1) == ADDRESS
    assert sessions.unseal(keyring, TOKEN, page_id, now=NOW + PAGE_MICROS) is None
    assert sessions.unseal(keyring, OTHER, page_id, now=NOW) is None
    changed = ("B" if page_id[20] != "B" else "C").join((page_id[:20], page_id[21:]))
    for wrong in ("", "x", changed, page_id[:-3], "A" * 3_000, "é", "../login", "=" * 9):
        assert sessions.unseal(keyring, TOKEN, wrong, now=NOW) is None


def test_the_id_of_a_page_shows_nothing_of_whom_it_is_about(keyring: Keyring) -> None:
    of = [Subject(subject_ref="c"), Subject(subject_ref="customer-4711"), ADDRESS]
    ids = [sessions.seal(keyring, TOKEN, each, now=NOW) for each in of]
    assert len({len(each) for each in ids}) == 1
    assert "4711" not in repr(of)
    assert "3363" not in repr(of)
