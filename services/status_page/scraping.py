"""Reads what one process exports, and whether it is ready. Bounded in size and time, whatever answers there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import aiohttp

from consent_service.json_logs import redact
from status_page.errors import ScrapeFailedError
from status_page.observed import Answer, Silence
from status_page.samples import parse
from status_page.settings import Target

SECONDS = 2.0
"""For both pages of a process."""
MOST_BYTES = 4_194_304
_READY_BYTES = 8_192
_SHOWN = 300
"""Characters of why a process is not ready."""


class Scraper:
    """Belongs to one event loop. ``wanted``: the names of the samples that are read."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = frozenset(wanted)
        self._session = aiohttp.ClientSession(
            # Answers are read as they come: what is packed small may unpack to anything.
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "Accept": "text/plain"},
            timeout=aiohttp.ClientTimeout(total=SECONDS),
            max_line_size=8_190,
            max_field_size=8_190,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def read(self, target: Target) -> Answer | Silence:
        """Never raises for what a process answers, or does not."""
        try:
            async with asyncio.timeout(SECONDS):
                status, page = await self._get(f"{target.url}/metrics", MOST_BYTES)
                if status != 200:
                    return Silence(reason="status")
                ready, why = await self._get(f"{target.url}/readyz", _READY_BYTES)
            return Answer(samples=parse(page, self._wanted), not_ready="" if ready == 200 else _shown(why))
        except ScrapeFailedError as error:
            return Silence(reason=error.reason)
        except TimeoutError:
            return Silence(reason="timed_out")
        except aiohttp.ClientConnectorError:
            return Silence(reason="refused")
        except (aiohttp.ClientError, OSError, ValueError):
            return Silence(reason="failed")

    async def _get(self, url: str, limit: int) -> tuple[int, str]:
        async with self._session.get(url, allow_redirects=False) as answer:
            try:
                await answer.content.readexactly(limit + 1)
            except asyncio.IncompleteReadError as whole:
                return answer.status, whole.partial.decode("utf-8", "replace")
        raise ScrapeFailedError("too_large", f"more than {limit} bytes")


def _shown(why: str) -> str:
    """The lines of a health page as one, without what has the shape of an address."""
    line = "; ".join(why.split("\n")).strip("; ")
    rest = " ..." if len(line) > _SHOWN else ""
    return (redact(line[:_SHOWN]) or "?") + rest
