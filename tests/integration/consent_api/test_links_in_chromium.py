"""The pages as a person has them: in Chromium, by the keyboard alone, without scripts, small and enlarged. # R20

Pictures of them are kept in .local/pictures, for a look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry

from consent_api.domain.validation import ValidationRules, ValidDecision
from consent_api.http.app import create_app
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import key_store
from consent_api.ledger.ledger import Ledger
from consent_api.links.token import Link, LinkKind, Links
from consent_service.clock import now_micros
from consent_service.health import Health
from tests.support import browser
from tests.support.browser import Tab
from tests.support.codes import CodePost
from tests.support.evidence import EVIDENCE
from tests.support.served import served
from tests.support.themes import CHANNELS, selling, themes

PICTURES = Path(__file__).parents[3] / ".local" / "pictures"
EMAIL = "someone@example.com"
START = "/p/of/acme"
GPC = {"Sec-GPC": "1"}
HOUR = 3600 * 1_000_000


@pytest.fixture
def post() -> CodePost:
    return CodePost()


@pytest.fixture
def site(ledger: Ledger, tmp_path: Path, post: CodePost) -> Iterator[str]:
    """The API on a port."""
    browser.chromium()
    app = create_app(
        ledger=ledger,
        key_store=key_store.ApiKeyStore(ledger.engine),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(CollectorRegistry(), channels=CHANNELS),
        health=Health(),
        themes=selling(themes(tmp_path)),
        code_webhook=post,
    )
    with served(app) as url:
        yield url


@pytest.fixture
async def tab(site: str) -> AsyncIterator[Tab]:
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with browser.tab(Path(profile)) as opened:
            yield opened


def link(ledger: Ledger, kind: LinkKind) -> str:
    of = Link(tenant="acme", kind=kind, channel="email", address=EMAIL, purpose="promotions")
    return f"/{'u' if kind is LinkKind.ONE_CLICK else 'p'}/{Links(lambda: ledger.context.keyring).token(of)}"


def grant(ledger: Ledger) -> None:
    now = now_micros()
    granted = ValidDecision(
        tenant="acme",
        event_id=None,
        subject_ref=None,
        address=EMAIL,
        channel="email",
        purpose="promotions",
        status="given",
        effective_at=now - HOUR,
        recorded_at=now,
        # So soon that the page offers to renew it.
        expires_at=now + 2_400 * HOUR,
        evidence=EVIDENCE,
    )
    ledger.record([granted])


async def check(tab: Tab, site: str, name: str) -> None:
    """What holds for every page, at every size; pictures of it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for width, zoom in ((320, 1.0), (1280, 2.0), (1200, 1.0)):
        await tab.size(width, zoom=zoom)
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
        if zoom == 1.0:
            (PICTURES / f"{name}-{width}.png").write_bytes(await tab.picture())
    # Targets of 24 by 24 pixels at least, but for links within a sentence (WCAG 2.2, 2.5.8).
    small = "[...document.querySelectorAll('button,input:not([type=hidden]),.button')]"
    assert await tab.evaluate(f"{small}.filter(e=>e.getBoundingClientRect().height<24).length") == 0, name
    assert await tab.evaluate("document.querySelectorAll('h1').length === 1 && !!document.documentElement.lang")
    assert await tab.evaluate("document.querySelectorAll('script').length") == 0
    assert {urlsplit(url).netloc for url in tab.requests if not url.startswith(("data:", "about:"))} == {
        urlsplit(site).netloc
    }


async def focused(tab: Tab) -> str:
    return str(await tab.evaluate("(e=>e.tagName+' '+(e.name||'')+' '+(e.value||''))(document.activeElement)"))


async def tab_to(tab: Tab, wanted: str) -> None:
    """By the Tab key alone; each element on the way shows that it has the focus."""
    for _ in range(40):
        await tab.press("Tab")
        if wanted in await focused(tab):
            return
    raise AssertionError(f"the keyboard does not reach {wanted}")


async def test_a_person_chooses_by_the_keyboard_alone(tab: Tab, site: str, ledger: Ledger) -> None:
    await asyncio.to_thread(grant, ledger)
    await tab.open(f"{site}{link(ledger, LinkKind.PREFERENCES)}?lang=en")
    await check(tab, site, "preferences")
    # The logo is not a control: the page begins with the way past its head.
    await tab.press("Tab")
    assert await tab.evaluate("document.activeElement.className") == "skip"
    assert await tab.evaluate("document.activeElement.getBoundingClientRect().left") == 0
    # Refusing takes as many keys as accepting: two buttons, one after the other.
    await tab_to(tab, "action refuse")
    await tab.press("Tab")
    assert "action accept" in await focused(tab)
    await tab_to(tab, "email.promotions on")
    shown = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert await tab.evaluate(shown) == "solid"
    await tab.press("ArrowRight")
    assert "email.promotions off" in await focused(tab)
    await tab_to(tab, "action save")
    await tab.press("Enter", loads=True)
    assert await tab.evaluate("document.querySelector('h1').textContent") == "Your choices are saved"
    await check(tab, site, "receipt")
    with ledger.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT purpose, status FROM decisions ORDER BY recorded_at").all()
    assert [tuple(row) for row in found] == [("promotions", "given"), ("promotions", "withdrawn")]


async def test_axe_finds_nothing(tab: Tab, site: str, ledger: Ledger, node_packages: Path) -> None:
    axe = node_packages / "node_modules" / "axe-core" / "axe.min.js"
    await asyncio.to_thread(grant, ledger)
    one_click, preferences = (link(ledger, kind) for kind in (LinkKind.ONE_CLICK, LinkKind.PREFERENCES))
    await tab.call("Network.setExtraHTTPHeaders", headers=GPC)
    of_rights = [(f"{preferences}/{below}", 320) for below in ("history", "rights", "proof")]
    for path, width in ((preferences, 320), (preferences, 1200), (one_click, 320), *of_rights, (START, 320)):
        await tab.size(width)
        await tab.open(f"{site}{path}?lang=fr")
        assert await tab.violations(axe) == [], (path.rpartition("/")[2], width)


async def test_a_person_without_a_link_comes_in_by_a_code(
    tab: Tab, site: str, ledger: Ledger, post: CodePost, node_packages: Path
) -> None:
    axe = node_packages / "node_modules" / "axe-core" / "axe.min.js"
    await asyncio.to_thread(grant, ledger)
    await tab.open(f"{site}{START}?lang=en")
    await check(tab, site, "start")
    await type_into(tab, "address", "hello")
    await check(tab, site, "start-wrong")
    await type_into(tab, "address", EMAIL)
    await check(tab, site, "code")
    await type_into(tab, "code", "12 34")
    assert await tab.violations(axe) == []
    await check(tab, site, "code-wrong")
    await type_into(tab, "code", post.sent[0].code)
    assert await tab.evaluate("document.querySelector('h1').textContent") == "Your choices"
    assert EMAIL not in await tab.evaluate("location.href")


async def test_the_page_says_what_a_browser_s_signal_does(tab: Tab, site: str, ledger: Ledger) -> None:  # R23
    await asyncio.to_thread(grant, ledger)
    await tab.call("Network.setExtraHTTPHeaders", headers=GPC)
    await tab.open(f"{site}{link(ledger, LinkKind.PREFERENCES)}?lang=en")
    await check(tab, site, "preferences-signal")
    await tab_to(tab, "action save")
    await tab.press("Enter", loads=True)
    await check(tab, site, "receipt-signal")
    assert "Global Privacy Control" in await tab.evaluate("document.querySelector('main').textContent")


async def test_refusing_takes_as_many_clicks_as_accepting(tab: Tab, site: str, ledger: Ledger) -> None:
    clicks: dict[str, int] = {}
    sizes: set[tuple[float, float]] = set()
    for action in ("refuse", "accept"):
        await tab.open(f"{site}{link(ledger, LinkKind.PREFERENCES)}?lang=en")
        clicks[action] = 0
        while await tab.evaluate("document.querySelector('h1').textContent") == "Your choices":
            assert clicks[action] < 5
            sizes.add(await click(tab, f"button[value={action}]"))
            clicks[action] += 1
        assert await tab.evaluate("document.querySelector('h1').textContent") == "Your choices are saved"
    assert clicks == {"refuse": 1, "accept": 1}
    assert len(sizes) == 1  # No button is larger than the other.


async def click(tab: Tab, selector: str) -> tuple[float, float]:
    """By the mouse, and wait for the page that it leads to; how large the element is."""
    box = "(b=>[b.x+b.width/2,b.y+b.height/2,b.width,b.height])(e.getBoundingClientRect())"
    x, y, width, height = await tab.evaluate(
        f"(e=>{{e.scrollIntoView();return {box}}})(document.querySelector('{selector}'))"
    )
    await tab.click(x, y)
    return width, height


async def type_into(tab: Tab, name: str, text: str) -> None:
    """Into the empty field of that name, and Enter."""
    await tab_to(tab, name)
    await tab.call("Input.insertText", text=text)
    await tab.press("Enter", loads=True)


async def test_a_request_is_one_key_and_the_proof_is_a_page(tab: Tab, site: str, ledger: Ledger) -> None:  # R51
    await asyncio.to_thread(grant, ledger)
    path = f"{site}{link(ledger, LinkKind.PREFERENCES)}"
    await tab.open(f"{path}/rights?lang=fr")
    await tab_to(tab, "kind erasure")
    await tab.press("Enter", loads=True)
    assert (
        await tab.evaluate("document.querySelector('[role=status] h2').textContent") == "Votre demande est bien reçue"
    )
    await check(tab, site, "rights")
    await tab.open(f"{path}/proof?lang=fr")
    await check(tab, site, "proof")


async def test_one_click_is_one_key(tab: Tab, site: str, ledger: Ledger) -> None:
    await tab.open(f"{site}{link(ledger, LinkKind.ONE_CLICK)}?lang=fr")
    await check(tab, site, "one-click")
    await tab_to(tab, "List-Unsubscribe One-Click")
    await tab.press("Enter", loads=True)
    assert "désabonnement" in await tab.evaluate("document.querySelector('h1').textContent")
    await check(tab, site, "unsubscribed")
