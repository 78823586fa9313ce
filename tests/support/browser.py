"""Chromium without a window, over its own protocol (CDP): what a person sees, and what the keyboard alone can do."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.foreign_runtimes import runtime

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_AXE = """
axe.run().then(found => [
  found.passes.length, found.violations.map(each => each.id + " " + each.nodes.map(node => node.html))
])
"""
_SECONDS = 30
_KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39, "ArrowLeft": 37, "1": 49, "2": 50}


def chromium() -> str:
    """The path of a Chromium on this machine; the test that asks for one that is missing is left out."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None) or runtime(NAMES[0])


class Tab:
    """One page, with scripts of the page switched off; those of `evaluate` run all the same."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = count(1)
        self._loaded = 0
        self.requests: list[str] = []
        """The URLs that pages have asked for."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._receive()
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return dict(message["result"])

    async def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._socket.receive_json(timeout=_SECONDS)
        if message.get("method") == "Page.loadEventFired":
            self._loaded += 1
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message

    async def open(self, url: str) -> None:
        before = self._loaded
        await self.call("Page.navigate", url=url)
        await self._wait_for_load(before)

    async def _wait_for_load(self, before: int) -> None:
        while self._loaded == before:
            await self._receive()

    async def size(self, width: int, *, height: int = 900, zoom: float = 1.0) -> None:
        """``zoom`` 2: as at 200 %, in a window of that width."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=round(width / zoom),
            height=round(height / zoom),
            deviceScaleFactor=zoom,
            mobile=False,
        )

    async def evaluate(self, expression: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def violations(self, axe: Path) -> list[str]:
        """What axe-core, whose script that is, finds wrong with the page."""
        await self.evaluate(f"{await asyncio.to_thread(axe.read_text)};0")
        # Its timers are the page's scripts to the browser.
        await self.call("Emulation.setScriptExecutionDisabled", value=False)
        found = await self.call("Runtime.evaluate", expression=_AXE, awaitPromise=True, returnByValue=True)
        await self.call("Emulation.setScriptExecutionDisabled", value=True)
        assert "exceptionDetails" not in found, found
        checks, violations = found["result"]["value"]
        assert checks > 10, "axe has checked hardly anything"
        return [str(each) for each in violations]

    async def press(self, key: str, *, alt: bool = False, loads: bool = False) -> None:
        """``alt``: an access key. ``loads``: and wait for the page that it leads to."""
        before = self._loaded
        text = {"Enter": "\r", " ": " "}.get(key)
        about = {"key": key, "windowsVirtualKeyCode": _KEYS[key], **({"text": text} if text else {})}
        if alt:
            about |= {"modifiers": 1, "code": f"Digit{key}", "text": key, "unmodifiedText": key}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **about)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **about)
        if loads:
            await self._wait_for_load(before)

    async def click(self, x: float, y: float) -> None:
        """By the mouse, and wait for the page that it leads to."""
        before = self._loaded
        about = {"x": x, "y": y, "button": "left", "clickCount": 1}
        await self.call("Input.dispatchMouseEvent", type="mousePressed", **about)
        await self.call("Input.dispatchMouseEvent", type="mouseReleased", **about)
        await self._wait_for_load(before)

    async def picture(self, *, height: int | None = None) -> bytes:
        """A PNG of the whole page, or of so much of its top."""
        metrics = await self.call("Page.getLayoutMetrics")
        size = metrics["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        found = await self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(found["data"])


@asynccontextmanager
async def tab(directory: Path) -> AsyncIterator[Tab]:
    """A new browser with one page. ``directory``: empty, for its profile."""
    process = await asyncio.create_subprocess_exec(
        chromium(),
        *FLAGS,
        f"--user-data-dir={directory}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            port = await _port(directory / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Tab(socket)
                for domain in ("Page", "Runtime", "Network"):
                    await page.call(f"{domain}.enable")
                await page.call("Emulation.setScriptExecutionDisabled", value=True)
                yield page
    finally:
        process.terminate()
        await process.wait()


async def _port(file: Path) -> str:
    while True:
        with suppress(OSError, IndexError):
            return (await asyncio.to_thread(file.read_text)).splitlines()[0]
        await asyncio.sleep(0.05)
