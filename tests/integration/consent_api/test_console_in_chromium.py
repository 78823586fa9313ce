"""The console as employees have it: in Chromium, by the keyboard alone, without scripts, small and enlarged. # R52

Pictures of it are kept in .local/pictures, for a look; console.png is that of the README.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine, text

from consent_api.domain.validation import ValidationRules, ValidDecision
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store, reviews
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.reviews import NewReview
from consent_api.rights import requests
from consent_api.rights.erasure import model, retention
from consent_api.rights.erasure.model import Counts, Delivery
from consent_api.rights.person_ref import PersonRef
from consent_api.rights.requests import Identity, Kind, NewRequest
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from consent_service.health import Health
from tests.support import browser
from tests.support.browser import Tab
from tests.support.served import served
from tests.support.themes import CHANNELS, themes
from tests.support.waiting import until_async

PICTURES = Path(__file__).parents[3] / ".local" / "pictures"
NUMBER, EMAIL, REFERENCE = "+33639980051", "camille.exemple@example.com", "customer-4751"
DAY = 24 * 3600 * 1_000_000
EVIDENCE = {
    "controller": "Acme SAS",
    "notice_id": "account-page",
    "notice_version": "2026-03",
    "notice_language": "fr-FR",
    "capture_method": "web-form",
    "source_system": "website",
    "actor": "data-subject",
    "withdrawal_method": "STOP, or the page My choices",
}


@pytest.fixture
def site(ledger: Ledger, tmp_path: Path) -> Iterator[str]:
    """The API on a port."""
    browser.chromium()
    app = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(CollectorRegistry(), channels=CHANNELS),
        health=Health(),
        themes=themes(tmp_path),
    )
    with served(app) as url:
        yield url


@pytest.fixture
async def tab(site: str) -> AsyncIterator[Tab]:
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with browser.tab(Path(profile)) as opened:
            yield opened


@pytest.fixture
def token(owner_engine: Engine, ledger: Ledger, keyring: Keyring) -> str:
    """An employee's key, and a person who has withdrawn by text message."""
    now = now_micros()
    given = ValidDecision(
        tenant="acme",
        event_id=None,
        subject_ref=REFERENCE,
        address=NUMBER,
        channel="sms",
        purpose="promotions",
        status="given",
        effective_at=now - 200 * DAY,
        recorded_at=now,
        expires_at=now + 165 * DAY,
        evidence=EVIDENCE,
    )
    by_sms = {"capture_method": "sms-reply", "source_system": "twilio-fr", "actor": "data-subject"}
    withdrawn = replace(given, effective_at=now - DAY, status="withdrawn", expires_at=None, evidence=by_sms)
    recorded = ledger.record(
        [
            given,
            replace(given, channel="voice", purpose="promotions"),
            replace(given, channel="sms", purpose="survey"),
            replace(given, channel="email", address=EMAIL, purpose="newsletter", expires_at=now + 500 * DAY),
            withdrawn,
        ]
    )
    last = recorded[-1]
    assert isinstance(last, RecordedDecision)
    waiting = [
        NewReview(tenant="acme", channel="sms", source="twilio-fr", rule="r", decision_ids=[str(uuid4())], reply=reply)
        for reply in ("c’est beaucoup trop de messages", "STOP ou encore ?")
    ]
    with owner_engine.begin() as connection:
        for destination in ("twilio-fr", "brevo-fr"):
            _add_receipt(connection.execute, last, destination, now)
        reviews.insert(connection, keyring, waiting, now=now - DAY)
        for kind, age in ((Kind.ACCESS, 33), (Kind.ERASURE, 21), (Kind.PORTABILITY, 2)):
            new = NewRequest(
                person=PersonRef(tenant="acme", subject_ref=REFERENCE),
                kind=kind,
                identity=Identity.OPERATOR,
                identity_note="called back",
                by="key:ab12",
            )
            requests.open_request(connection, keyring, ledger.context.ids, new, now=now - age * DAY)
        _add_certified(connection, keyring, ledger, now)
        scopes = ("console", "submit", "read", "admin", "rights:read", "rights:write")
        return key_store.create(connection, tenant="acme", scopes=scopes, name="Desk 7", now=now)


def _add_certified(connection: Connection, keyring: Keyring, ledger: Ledger, now: int) -> None:
    """A request that an erasure has carried out."""
    new = NewRequest(
        person=PersonRef(tenant="acme", subject_ref="customer-12"),
        kind=Kind.ERASURE,
        identity=Identity.LINK,
        identity_note=None,
        by="person",
    )
    opened = requests.open_request(connection, keyring, ledger.context.ids, new, now=now - 2 * DAY)
    certificate = model.certificate(
        forgotten=2,
        kept=1,
        counts=Counts(decisions=9, links=2, receipts=12, proofs=1),
        subject=True,
        retention=retention.load(),
        at=now - DAY,
        destinations={"twilio-fr": Delivery.DELIVERED, "brevo-fr": Delivery.UNDELIVERED},
    )
    erasure_id = uuid4()
    requests.erased_by(connection, keyring, tenant="acme", erasure_id=erasure_id, request_id=opened.id)
    requests.resolve_erased(
        connection,
        keyring,
        tenant="acme",
        erasure_id=erasure_id,
        by="key:ab12",
        now=now - DAY,
        certificate=model.as_json(certificate),
    )


def _add_receipt(execute: object, decision: RecordedDecision, destination: str, now: int) -> None:
    assert callable(execute)
    receipt_id = str(uuid4())
    execute(
        text("""
        INSERT INTO receipts (receipt_id, tenant, destination, channel, address_key, action, stage, version,
                              recorded_at, queued_at, reached_at, attempts)
        VALUES (:receipt_id, 'acme', :destination, 'sms', :address_key, 'suppress', 'accepted', 1, :at, :at, :at, 1)
        """),
        {
            "receipt_id": receipt_id,
            "destination": destination,
            "address_key": decision.address_keys[0],
            "at": now - DAY + 1_200_000,
        },
    )
    execute(
        text("INSERT INTO receipt_decisions (decision_id, receipt_id) VALUES (:decision_id, :receipt_id)"),
        {"decision_id": UUID(decision.decision_id), "receipt_id": receipt_id},
    )


CERTIFIED = "[...document.querySelectorAll('.rows a')].at(-1).href"
"""What is answered is at the end of the list."""


async def check(tab: Tab, name: str, *, sizes: bool = True) -> None:
    """What holds for every page, at every size; pictures of it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for width, zoom in ((320, 1.0), (1280, 2.0), (360, 1.0), (1280, 1.0)) if sizes else ((1280, 1.0),):
        await tab.size(width, zoom=zoom)
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width, zoom)
        if zoom == 1.0 and width != 320:
            (PICTURES / f"{name}-{width}.png").write_bytes(await tab.picture())
    small = "[...document.querySelectorAll('button,input:not([type=hidden]),select,.button,nav a,summary')]"
    assert await tab.evaluate(f"{small}.filter(e=>e.getBoundingClientRect().height<24).length") == 0, name
    assert await tab.evaluate("document.querySelectorAll('h1').length === 1 && !!document.documentElement.lang")
    assert await tab.evaluate("document.querySelectorAll('script').length") == 0


async def focused(tab: Tab, wanted: str) -> None:
    """Wait until that has the focus by itself: a browser may give it after the page has loaded."""
    active = "(e => `${e.name} ${e.value}`)(document.activeElement)"

    async def is_there() -> bool:
        return bool(await tab.evaluate(active) == wanted)

    await until_async(is_there, what=wanted)


async def write(tab: Tab, name: str, words: str) -> None:
    """Into the field that has the focus."""
    await focused(tab, f"{name} ")
    await tab.call("Input.insertText", text=words)


async def sign_in(tab: Tab, site: str, token: str, language: str = "en") -> None:
    await tab.open(f"{site}/console/login?lang={language}")
    await write(tab, "key", token)
    await tab.press("Enter", loads=True)


async def heading(tab: Tab) -> str:
    return str(await tab.evaluate("document.querySelector('h1').textContent"))


async def test_an_agent_ends_calls_with_a_number_and_two_keys(tab: Tab, site: str, token: str) -> None:
    await sign_in(tab, site, token)
    await tab.open(f"{site}/console/agent?lang=en")
    await check(tab, "console-agent")
    begun = monotonic()
    await write(tab, "number", "06 39 98 00 51")
    await tab.press("Enter", loads=True)
    await focused(tab, "action calls")
    await tab.press("Enter", loads=True)
    took = monotonic() - begun
    assert await heading(tab) == "No more calls to +33 6 39 98 00 51"
    assert took < 30, "five seconds of a person's, on a machine that has time"
    # And on with the next call.
    await check(tab, "console-agent-done", sizes=False)
    await write(tab, "number", "06 39 98 00 52")
    await tab.press("2", alt=True, loads=True)
    assert await heading(tab) == "No more contact with +33 6 39 98 00 52"


async def test_each_page_is_readable_at_every_size(tab: Tab, site: str, token: str) -> None:
    await tab.open(f"{site}/console/login?lang=fr")
    await check(tab, "console-login")
    await sign_in(tab, site, token)
    await check(tab, "console-search")
    await write(tab, "query", "06 39 98 00 51")
    await tab.press("Enter", loads=True)
    await tab.evaluate("document.querySelector('details').open = true")
    await check(tab, "console-address")
    (PICTURES / "console.png").write_bytes(await tab.picture(height=1120))
    await tab.open(await tab.evaluate("document.querySelector('.chip').href"))
    assert await heading(tab) == REFERENCE
    await check(tab, "console-person")
    await tab.open(await tab.evaluate("document.querySelector('.head .button').href"))
    await check(tab, "console-answer")
    await tab.call("Emulation.setEmulatedMedia", media="print")
    heights = "[...document.querySelectorAll('.top,.screen')].map(each => each.offsetHeight)"
    assert set(await tab.evaluate(heights)) == {0}, "menus and buttons are not printed"
    (PICTURES / "console-answer-print.png").write_bytes(await tab.picture())
    await tab.call("Emulation.setEmulatedMedia", media="")
    for name in ("reviews", "requests"):
        await tab.open(f"{site}/console/{name}?lang=en")
        await check(tab, f"console-{name}")
    of_erasure = "[...document.querySelectorAll('.rows a')].find(e => e.textContent.startsWith('Erasure')).href"
    await tab.open(await tab.evaluate(of_erasure))
    await check(tab, "console-request")
    await tab.open(await tab.evaluate("document.querySelector('a[href*=\"/erasure\"]').href"))
    await check(tab, "console-erasure")
    await tab.open(f"{site}/console/requests?lang=fr")
    await tab.open(await tab.evaluate(CERTIFIED))
    await check(tab, "console-certificate")


async def test_axe_finds_nothing(tab: Tab, site: str, token: str, node_packages: Path) -> None:
    axe = node_packages / "node_modules" / "axe-core" / "axe.min.js"
    await tab.size(360)
    await tab.open(f"{site}/console/login?lang=fr")
    assert await tab.violations(axe) == []
    await sign_in(tab, site, token, "fr")
    assert await tab.violations(axe) == []
    await write(tab, "query", "06 39 98 00 51")
    await tab.press("Enter", loads=True)
    assert await tab.violations(axe) == []
    await tab.open(await tab.evaluate("document.querySelector('.chip').href"))
    assert await tab.violations(axe) == []
    await tab.open(await tab.evaluate("document.querySelector('.head .button').href"))
    assert await tab.violations(axe) == []
    for name in ("reviews", "requests"):
        await tab.open(f"{site}/console/{name}?lang=fr")
        assert await tab.violations(axe) == [], name
    of_erasure = "[...document.querySelectorAll('.rows a')].find(e => e.textContent.startsWith('Effacement')).href"
    await tab.open(await tab.evaluate(of_erasure))
    assert await tab.violations(axe) == []
    await tab.open(await tab.evaluate("document.querySelector('a[href*=\"/erasure\"]').href"))
    assert await tab.violations(axe) == []
    await tab.open(f"{site}/console/requests?lang=fr")
    await tab.open(await tab.evaluate(CERTIFIED))
    assert await tab.violations(axe) == []
    await tab.open(f"{site}/console/agent?lang=fr")
    assert await tab.violations(axe) == []
    await write(tab, "number", "06 39 98 00 51")
    await tab.press("Enter", loads=True)
    assert await tab.violations(axe) == []
    await focused(tab, "action calls")
    await tab.press("Enter", loads=True)
    assert await tab.violations(axe) == []
