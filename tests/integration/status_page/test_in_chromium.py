"""The status page as people have it: in Chromium, pushed and without scripts, small and on a wall. # R39 R52

Pictures of it are kept in .local/pictures, for a look; those of docs/status-page.md are of a running system.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from tests.integration.status_page.conftest import Keys, Serve
from tests.integration.status_page.running import Measured, running
from tests.support import browser
from tests.support.browser import Tab
from tests.support.status_history import observed
from tests.support.waiting import until_async

PICTURES = Path(__file__).parents[3] / ".local" / "pictures"


@pytest.fixture
async def tab() -> AsyncIterator[Tab]:
    browser.chromium()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with browser.tab(Path(profile)) as opened:
            yield opened


@pytest.fixture
def measured() -> Iterator[Measured]:
    made = Measured.start()
    yield made
    for name in list(made.servers):
        made.stop(name)


async def enter(tab: Tab, url: str, token: str, language: str = "en") -> None:
    """By a link, and on in the language."""
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as client:
        made = await client.post(f"{url}/status/links")
    await tab.open(made.json()["url"])
    await tab.open(f"{url}/status/?lang={language}")


async def shown_to_others(url: str, token: str, text: str) -> bool:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as client:
        return text in (await client.get(f"{url}/status/")).text


async def check(tab: Tab, name: str, *widths: int, zoom: float = 1.0) -> None:
    """Nothing is cut off at these widths; pictures of it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for width in widths:
        await tab.size(width, height=1080, zoom=zoom)
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width, zoom)
        texts = "[...document.querySelectorAll('p,dd,dt,h2,h3,li,figcaption')].filter(e => !e.closest('.hidden'))"
        cut = f"{texts}.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
        assert await tab.evaluate(cut) == [], (name, width)
        (PICTURES / f"{name}-{width}.png").write_bytes(await tab.picture())


async def text_of(tab: Tab, selector: str) -> str:
    return str(await tab.evaluate(f"document.querySelector('{selector}')?.textContent ?? ''"))


async def test_it_is_readable_from_a_phone_to_a_wall(tab: Tab, serve: Serve, keys: Keys) -> None:
    with serve(observed()) as url:
        await enter(tab, url, keys.token)
        await check(tab, "status-quiet", 1920)
    tab.requests.clear()
    with serve(observed(faults=True)) as url:
        await enter(tab, url, keys.explaining_token)
        await check(tab, "status", 320, 360, 768, 1280, 1920)
        await check(tab, "status-enlarged", 1280, zoom=2.0)
        await enter(tab, url, keys.explaining_token, "fr")
        await check(tab, "status-fr", 320, 1280)
        await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        await check(tab, "status-dark", 360, 1920)
        assert [each for each in tab.requests if not each.startswith((url, "data:"))] == []


async def test_axe_finds_nothing(tab: Tab, serve: Serve, keys: Keys, node_packages: Path) -> None:
    axe = node_packages / "node_modules" / "axe-core" / "axe.min.js"
    with serve(observed(faults=True)) as url:
        await tab.size(360)
        await tab.open(f"{url}/status/login?lang=fr")
        assert await tab.violations(axe) == []
        await enter(tab, url, keys.explaining_token, "fr")
        assert await tab.violations(axe) == []
        await tab.size(1920)
        await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        assert await tab.violations(axe) == []


async def test_someone_signs_in_and_asks_by_the_keyboard(tab: Tab, serve: Serve, keys: Keys) -> None:
    with serve(observed()) as url:
        await tab.open(f"{url}/status/?lang=en")

        async def has_focus() -> bool:
            return bool(await tab.evaluate("document.activeElement.id === 'key'"))

        await until_async(has_focus)
        await check(tab, "status-login", 320, 1280)
        await tab.call("Input.insertText", text=keys.explaining_token)
        await tab.press("Enter", loads=True)
        assert "Every choice gets through" in await text_of(tab, "#verdict")
        order = []
        for _ in range(9):
            await tab.press("Tab")
            order.append(await tab.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))
        # Without scripts there is a link to refresh in the place of the button to pause.
        assert order[:5] == ["Skip to content", "Refresh", "Refresh by itself", "Français", "Sign out"]
        assert (order[5], order[7], order[8]) == ("address", "purpose", "Explain")
        outline = await tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        await tab.evaluate("document.querySelector('#address').value = '+33 6 39 98 00 01'")
        await tab.press("Enter", loads=True)
        # This page knows no API.
        assert "this page knows no API" in await text_of(tab, "[role=alert]")
        assert await tab.evaluate("document.querySelector('#address')?.value ?? ''") == "+33 6 39 98 00 01"
        await check(tab, "status-explain", 320, 1280)


async def test_without_scripts_it_reloads_by_itself(tab: Tab, measured: Measured, keys: Keys) -> None:
    with running(keys.file, measured.targets) as status:
        await enter(tab, status.url, keys.token)
        assert "Every choice gets through" in await text_of(tab, "#verdict")
        assert await tab.evaluate("document.querySelector('#pause').hidden")
        await tab.open(await tab.evaluate("document.querySelector('a[href$=\"&refresh=auto\"]').href"))
        measured.propagator.breaker_open.labels("twilio-fr").set(1)

        async def shows_it() -> bool:
            return "counts as down" in await text_of(tab, ".findings")

        await until_async(shows_it, every=0.5)


async def test_figures_are_pushed_paused_and_lost(tab: Tab, measured: Measured, keys: Keys) -> None:
    await tab.call("Emulation.setScriptExecutionDisabled", value=False)

    async def becomes(selector: str, text: str) -> None:
        async def shows_it() -> bool:
            return text in await text_of(tab, selector)

        await until_async(shows_it, what=text, every=0.1)

    with running(keys.file, measured.targets) as status:
        await enter(tab, status.url, keys.token)
        await becomes("#verdict", "Every choice gets through")
        pages = len([each for each in tab.requests if each.endswith("/status/?lang=en")])
        measured.propagator.breaker_open.labels("twilio-fr").set(1)
        await becomes(".findings", "twilio-fr counts as down")
        await tab.evaluate("document.querySelector('#pause').click()")
        assert await tab.evaluate("document.querySelector('#pause').getAttribute('aria-pressed')") == "true"
        measured.propagator.breaker_open.labels("twilio-fr").set(0)
        await until_async(lambda: shown_to_others(status.url, keys.token, "Every choice gets through"), every=0.5)
        assert "twilio-fr counts as down" in await text_of(tab, ".findings")
        await tab.evaluate("document.querySelector('#pause').click()")
        await becomes("#verdict", "Every choice gets through")
        assert len([each for each in tab.requests if each.endswith("/status/?lang=en")]) == pages, "it never reloaded"
        assert await tab.evaluate("document.querySelector('#lost').hidden")
    await becomes("#lost", "This page gets no answer any more. The figures are those of ")
    assert not await tab.evaluate("document.querySelector('#lost').hidden")
