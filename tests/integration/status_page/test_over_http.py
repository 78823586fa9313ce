"""The status page over HTTP: who is let in, what is shown, and that nothing else happens. # R15 R28 R39"""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from consent_http import api_keys
from status_page.figures import figures
from status_page.streams import MOST
from tests.integration.status_page.conftest import Keys, Serve
from tests.support.status_history import observed

OWN = {"Sec-Fetch-Site": "same-origin"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def browser(site: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site, headers=OWN, timeout=30) as client:
        yield client


def sign_in(browser: httpx.Client, token: str) -> httpx.Response:
    return browser.post("/status/login", data={"key": token})


def form_token(page: str, action: str) -> str:
    found = re.search(rf'action="{action}\?lang=\w+"><?\s*<input type="hidden" name="form" value="(\w+)"', page)
    assert found is not None, page
    return found[1]


def test_the_page_is_for_keys_with_the_scope_alone(browser: httpx.Client, keys: Keys) -> None:
    assert browser.get("/status/").headers["location"] == "login?lang=en"
    unknown, _ = api_keys.mint(tenant="acme", scopes=["operate"])
    refused = [sign_in(browser, token) for token in (unknown, keys.other_token, keys.token[:-1], "", "x" * 5_000)]
    assert {answer.status_code for answer in refused} == {403}
    assert len({answer.text for answer in refused}) == 1, "what is wrong with a key is not shown"
    entered = sign_in(browser, keys.token)
    assert entered.status_code == 303
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith("status=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")
    page = browser.get("/status/")
    assert page.status_code == 200
    shown = figures(observed(faults=True))
    assert shown.findings
    assert f"To look at: {len(shown.findings)}<" in page.text
    assert page.headers["cache-control"] == "no-store"


def test_the_page_loads_nothing_from_elsewhere(browser: httpx.Client, keys: Keys) -> None:
    sign_in(browser, keys.token)
    page = browser.get("/status/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'sha256-")
    assert not re.findall(r'(?:src|href)="(?!status\.js|\./|login|logout|#)[^"]*"', page.text)
    assert " style=" not in page.text
    assert not re.findall(r"\son\w+=", page.text)
    script = browser.get("/status/status.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["x-content-type-options"] == "nosniff"


def test_a_program_looks_with_its_key(site: str, keys: Keys) -> None:
    answer = httpx.get(f"{site}/status/?lang=fr", headers=bearer(keys.token))
    assert answer.status_code == 200
    assert "À examiner" in answer.text
    assert httpx.get(f"{site}/status/events").status_code == 401
    assert httpx.get(f"{site}/status/", headers=bearer(keys.other_token)).status_code == 303


def test_a_link_opens_the_page_once(site: str, browser: httpx.Client, keys: Keys) -> None:
    assert httpx.post(f"{site}/status/links").status_code == 401
    assert httpx.post(f"{site}/status/links", headers=bearer(keys.other_token)).status_code == 401
    made = httpx.post(f"{site}/status/links", headers=bearer(keys.token))
    assert made.status_code == 201
    link = made.json()
    assert link["expires_in_seconds"] == 3600
    assert link["url"].startswith(f"{site}/status/enter/")
    opened = browser.get(link["url"])
    assert (opened.status_code, opened.headers["location"]) == (303, "../?lang=en")
    assert browser.get("/status/").status_code == 200
    again = httpx.get(link["url"])
    assert again.status_code == 404
    assert "This link is used" in again.text


def test_a_revoked_key_is_shut_out_at_once(site: str, browser: httpx.Client, keys: Keys) -> None:
    sign_in(browser, keys.token)
    link = httpx.post(f"{site}/status/links", headers=bearer(keys.token)).json()["url"]
    keys.write(keys.explaining_key)
    assert browser.get("/status/").headers["location"] == "login?lang=en"
    assert browser.get("/status/events").status_code == 401
    assert httpx.get(link).status_code == 404


def test_no_one_is_let_in_while_the_keys_cannot_be_read(browser: httpx.Client, keys: Keys) -> None:
    sign_in(browser, keys.token)
    keys.file.unlink()
    for path in ("/status/", "/status/events"):
        answer = browser.get(path)
        assert answer.status_code == 503
        assert "CONSENT_RELAY_STATUS_KEYS_FILE" in answer.text


def test_forms_of_other_sites_do_nothing(browser: httpx.Client, keys: Keys) -> None:
    sign_in(browser, keys.token)
    other = {"Sec-Fetch-Site": "cross-site"}
    token = form_token(browser.get("/status/").text, "logout")
    assert browser.post("/status/logout", data={"form": token}, headers=other).status_code == 403
    assert browser.post("/status/logout", data={"form": "0"}).status_code == 403
    assert browser.post("/status/login", data={"key": keys.token}, headers=other).status_code == 403
    assert browser.get("/status/").status_code == 200
    assert browser.post("/status/logout", data={"form": token}).status_code == 303
    assert browser.get("/status/").headers["location"] == "login?lang=en"


def test_an_address_is_explained_for_keys_that_may_read_alone(browser: httpx.Client, keys: Keys) -> None:
    sign_in(browser, keys.token)
    page = browser.get("/status/").text
    assert 'name="address"' not in page
    browser.cookies.clear()
    sign_in(browser, keys.explaining_token)
    page = browser.get("/status/").text
    assert 'name="address"' in page
    asked = {"form": form_token(page, "explain"), "address": "", "channel": "sms", "purpose": "*"}
    assert browser.post("/status/explain", data={**asked, "form": "0"}).status_code == 403


def test_the_other_language_takes_one_click(browser: httpx.Client, keys: Keys) -> None:
    sign_in(browser, keys.token)
    page = browser.get("/status/", headers={"Accept-Language": "fr"}).text
    assert '<html lang="fr">' in page
    assert 'href="./?lang=en" hreflang="en"' in page


def test_more_browsers_than_fit_are_asked_to_reload(site: str, keys: Keys) -> None:
    with httpx.Client(base_url=site, headers=bearer(keys.token), timeout=30) as client:
        streams = [client.stream("GET", "/status/events") for _ in range(MOST)]
        opened = [each.__enter__() for each in streams]
        lines = [each.iter_lines() for each in opened]
        assert {next(each) for each in lines} == {"retry: 3000"}
        full = client.get("/status/events")
        assert (full.status_code, full.headers["retry-after"]) == (503, "10")
        for each in streams:
            each.__exit__(None, None, None)


def test_a_head_asks_for_nothing_that_changes(site: str, keys: Keys) -> None:
    link = httpx.post(f"{site}/status/links", headers=bearer(keys.token)).json()["url"]
    assert httpx.head(link).status_code == 405
    assert httpx.get(link).status_code == 303
    assert httpx.head(f"{site}/").headers["location"] == "status/"
    assert httpx.head(f"{site}/status").headers["location"] == "status/"


def test_before_the_first_answer_nothing_is_known(serve: Serve, keys: Keys) -> None:
    with serve(observed(seconds=0)) as url:
        page = httpx.get(f"{url}/status/", headers=bearer(keys.token)).text
    assert "Nothing has been read yet" in page
    assert "<strong>0</strong>" not in page
