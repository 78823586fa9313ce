"""The way to one's choices by a code: the same for every address, limited, and of no use for anybody else. # R20"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

from consent_api.domain.validation import ValidationRules, ValidDecision
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_service.clock import now_micros
from consent_service.health import Health
from tests.support.codes import CodePost
from tests.support.themes import CHANNELS, themes

EMAIL, PHONE = "someone@example.com", "+33639980011"
START = "/p/of/acme"
MINUTE = 60 * 1_000_000


@pytest.fixture
def post() -> CodePost:
    return CodePost()


def app_of(ledger: Ledger, directory: Path, post: CodePost | None) -> Any:
    return create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(CollectorRegistry(), channels=CHANNELS),
        health=Health(),
        themes=themes(directory),
        code_webhook=post,
    )


@pytest.fixture
def person(ledger: Ledger, tmp_path: Path, post: CodePost) -> Iterator[TestClient]:
    with TestClient(app_of(ledger, tmp_path, post), headers={"Accept-Language": "en"}) as person:
        yield person


def know(ledger: Ledger, address: str = EMAIL, channel: str = "email", subject_ref: str | None = None) -> None:
    now = now_micros()
    ledger.record(
        [
            ValidDecision(
                tenant="acme",
                event_id=None,
                subject_ref=subject_ref,
                address=address,
                channel=channel,
                purpose="promotions",
                status="refused",
                effective_at=now,
                recorded_at=now,
                expires_at=None,
                evidence={},
            )
        ]
    )


def ask(person: TestClient, typed: str = EMAIL) -> str:
    """What the form of the next page brings back."""
    answer = person.post(START, data={"address": typed})
    assert answer.status_code == 200, answer.text
    found = re.search(r'name="asked" value="([^"]+)"', answer.text)
    assert found is not None
    return found[1]


def enter(person: TestClient, asked: str, code: str, **headers: str) -> Any:
    return person.post(f"{START}/code", data={"asked": asked, "code": code}, headers=headers, follow_redirects=False)


def minutes_pass(engine: Engine, minutes: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE address_codes SET made_at = made_at - :ago, asked_since = asked_since - :ago"),
            {"ago": minutes * MINUTE},
        )


def test_a_code_opens_the_page_of_the_address(person: TestClient, ledger: Ledger, post: CodePost) -> None:
    know(ledger, subject_ref="customer-1")
    know(ledger, PHONE, "sms", subject_ref="customer-1")
    asked = ask(person, " Someone@Example.com ")
    (sent,) = post.sent
    assert (sent.address, sent.channel, sent.language, sent.brand) == (EMAIL, "email", "en", "Maison Acme")
    answer = enter(person, asked, f"{sent.code[:3]} {sent.code[3:]}")
    assert answer.status_code == 303
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    place = answer.headers["Location"]
    assert "someone" not in place
    page = person.get(place)
    assert page.status_code == 200
    assert "SMS" in page.text  # The address is one person's, whose number is known.
    form = re.search(r'name="form" value="([^"]+)"', page.text)
    assert form is not None
    saved = person.post(urlsplit(place).path, data={"form": form[1], "action": "refuse"})
    assert "Your choices are saved" in saved.text


def test_the_answer_is_the_same_for_known_and_unknown_addresses(
    person: TestClient, ledger: Ledger, post: CodePost
) -> None:
    know(ledger)
    known, unknown = (person.post(START, data={"address": each}) for each in (EMAIL, "unknown-1@example.com"))
    assert [each.address for each in post.sent] == [EMAIL]
    hidden = re.compile(r'value="[^"]+"')
    assert hidden.sub("", known.text) == hidden.sub("", unknown.text)
    assert len(known.content) == len(unknown.content)  # Nor does the length of what is sealed.
    assert known.status_code == unknown.status_code == 200
    wrong = [enter(person, ask(person, each), "123456") for each in ("unknown-2@example.com", "unknown-3@example.com")]
    assert {each.status_code for each in wrong} == {422}


def test_a_number_is_reached_by_text_message_and_shows_its_calls(
    person: TestClient, ledger: Ledger, post: CodePost
) -> None:
    know(ledger, PHONE, "voice")
    asked = ask(person, "06 39 98 00 11")
    (sent,) = post.sent
    assert (sent.address, sent.channel) == (PHONE, "sms")
    page = person.get(enter(person, asked, sent.code).headers["Location"])
    assert "Phone calls" in page.text


def test_a_code_is_used_once_and_guessed_five_times(
    person: TestClient, ledger: Ledger, owner_engine: Engine, post: CodePost
) -> None:
    know(ledger)
    asked = ask(person)
    code = post.sent[-1].code
    assert enter(person, asked, code).status_code == 303
    assert enter(person, asked, code).status_code == 422
    minutes_pass(owner_engine, 2)
    asked = ask(person)
    code = post.sent[-1].code
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    assert [enter(person, asked, wrong).status_code for _ in range(5)] == [422] * 5
    assert enter(person, asked, code).status_code == 422


def test_a_code_ends_after_ten_minutes(
    person: TestClient, ledger: Ledger, owner_engine: Engine, post: CodePost
) -> None:
    know(ledger)
    asked = ask(person)
    minutes_pass(owner_engine, 11)
    assert enter(person, asked, post.sent[-1].code).status_code == 422


def test_one_code_is_in_force_and_an_address_gets_few(
    person: TestClient, ledger: Ledger, owner_engine: Engine, post: CodePost
) -> None:
    know(ledger)
    ask(person)
    asked = ask(person)  # Within a minute: the first one stays in force.
    assert len(post.sent) == 1
    first = post.sent[0].code
    minutes_pass(owner_engine, 2)
    asked = ask(person)
    assert len(post.sent) == 2
    if post.sent[1].code != first:
        assert enter(person, asked, first).status_code == 422
    assert enter(person, asked, post.sent[1].code).status_code == 303
    with owner_engine.begin() as connection:
        connection.execute(text("UPDATE address_codes SET asked = 10"))
    minutes_pass(owner_engine, 2)
    ask(person)
    assert len(post.sent) == 2
    minutes_pass(owner_engine, 24 * 60)
    ask(person)
    assert len(post.sent) == 3


def test_one_caller_is_slowed_down_in_asking_and_in_guessing(
    person: TestClient, ledger: Ledger, post: CodePost
) -> None:
    asked = ask(person)
    answers = [person.post(START, data={"address": f"u{i}@example.com"}) for i in range(10)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert {enter(person, asked, "000000").status_code for _ in range(25)} == {422, 429}


def test_a_code_counts_for_its_own_address_and_from_our_own_page(
    person: TestClient, ledger: Ledger, post: CodePost
) -> None:
    know(ledger)
    know(ledger, "other@example.com")
    ours, theirs = ask(person), ask(person, "other@example.com")
    mine, others = (each.code for each in post.sent)
    if mine != others:
        assert enter(person, theirs, mine).status_code == 422
    for asked in ("", "x" * 60, ours[:-4] + "AAAA"):
        assert enter(person, asked, mine).status_code == 403
    assert enter(person, ours, mine, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    foreign = person.post(START, data={"address": EMAIL}, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    assert enter(person, ours, mine, **{"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_the_page_that_a_code_opened_closes_after_an_hour(
    person: TestClient, ledger: Ledger, post: CodePost, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(ledger)
    place = enter(person, ask(person), post.sent[-1].code).headers["Location"]
    an_hour_later = now_micros() + 61 * MINUTE
    monkeypatch.setattr("consent_api.links.opening.now_micros", lambda: an_hour_later)
    closed = person.get(place)
    assert closed.status_code == 410
    assert START in closed.text


def test_nothing_of_it_is_stored_in_the_clear(
    person: TestClient, ledger: Ledger, owner_engine: Engine, post: CodePost
) -> None:
    know(ledger)
    ask(person)
    with owner_engine.connect() as connection:
        stored = connection.execute(text("SELECT row_to_json(c)::text FROM address_codes c")).scalars().all()
    assert len(stored) == 1
    sealed = bytes.fromhex(json.loads(stored[0])["sealed_code"].removeprefix("\\x"))
    assert post.sent[0].code.encode() not in sealed
    assert EMAIL not in stored[0]


def test_what_is_no_address_is_said_and_asks_for_nothing(person: TestClient, owner_engine: Engine) -> None:
    for typed, again in (("", ""), ("hello", "hello"), ("someone@", "someone@"), ('"><b>', "&#34;&gt;&lt;b&gt;")):
        answer = person.post(START, data={"address": typed})
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
        assert f'value="{again}" aria-invalid="true"' in answer.text, "to be corrected, not typed again"
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM address_codes")).scalar_one() == 0


def test_without_a_webhook_the_page_says_how_to_get_a_link(ledger: Ledger, tmp_path: Path) -> None:
    with TestClient(app_of(ledger, tmp_path, None), headers={"Accept-Language": "en"}) as person:
        for path in ("/p", "/p/", START):
            page = person.get(path, follow_redirects=False)
            assert page.status_code == 200
            assert "<form" not in page.text
            assert "Open the link to your choices" in page.text
        assert person.post(START, data={"address": EMAIL}).status_code == 200
        wrong = person.get("/p/of/other")
        assert wrong.status_code == 404
        assert f'href="{START}?lang=en"' in wrong.text  # There is one tenant: from any wrong link.
        assert wrong.text == person.get("/u/wrong").text
        assert person.get(f"{START}/accessibility").status_code == 200
