"""Who is signed in, for how long, and what a link does. # R15"""

from __future__ import annotations

import pytest

from consent_http.api_keys import ApiKey
from status_page import sessions
from status_page.sessions import EXPLAIN_IDLE_SECONDS, EXPLAIN_SECONDS, LINK_SECONDS, SESSION_SECONDS, Login, Sessions

KEY = ApiKey(id="abc123", digest="0" * 64, tenant="acme", scopes=frozenset({"operate", "read"}))
LOGIN = Login(key=KEY, secret="the secret")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Sessions:
    return Sessions(clock)


def test_a_session_is_found_by_its_token_until_it_is_over(kept: Sessions, clock: Clock) -> None:
    begun = kept.begin(LOGIN)
    assert kept.find(begun.token) is begun
    assert kept.find("another") is None
    assert kept.find("") is None
    clock.now += SESSION_SECONDS - 1
    assert kept.find(begun.token) is begun
    clock.now += 1
    assert kept.find(begun.token) is None


def test_a_session_that_is_ended_is_gone(kept: Sessions) -> None:
    begun = kept.begin(LOGIN)
    kept.end(begun.token)
    assert kept.find(begun.token) is None


def test_the_key_is_given_up_after_half_an_hour_without_a_question(kept: Sessions, clock: Clock) -> None:
    begun = kept.begin(LOGIN)
    clock.now += EXPLAIN_IDLE_SECONDS - 1
    assert begun.secret_to_explain(clock.now) == "the secret"
    begun.explained_at = clock.now
    clock.now += EXPLAIN_IDLE_SECONDS - 1
    assert begun.secret_to_explain(clock.now) == "the secret"
    clock.now += 1
    assert begun.secret_to_explain(clock.now) is None
    assert begun.login.secret is None
    assert kept.find(begun.token) is begun, "the figures go on"


def test_the_key_is_given_up_after_a_working_day(kept: Sessions, clock: Clock) -> None:
    begun = kept.begin(LOGIN)
    clock.now += EXPLAIN_SECONDS
    begun.explained_at = clock.now
    assert begun.secret_to_explain(clock.now) is None


def test_a_link_opens_once_and_for_an_hour(kept: Sessions, clock: Clock) -> None:
    link, late = kept.make_link(LOGIN), kept.make_link(LOGIN)
    assert kept.use_link(link) is LOGIN
    assert kept.use_link(link) is None
    clock.now += LINK_SECONDS
    assert kept.use_link(late) is None


def test_sessions_and_links_are_bounded(kept: Sessions) -> None:
    oldest, link = kept.begin(LOGIN), kept.make_link(LOGIN)
    for _ in range(sessions.MOST_SESSIONS):
        kept.begin(LOGIN)
    for _ in range(sessions.MOST_LINKS):
        kept.make_link(LOGIN)
    assert kept.find(oldest.token) is None
    assert kept.use_link(link) is None


def test_neither_secret_is_in_what_a_log_would_show(kept: Sessions) -> None:
    begun = kept.begin(LOGIN)
    assert begun.token not in repr(begun)
    assert "the secret" not in repr(begun)
