"""Why an address is, or is not, contactable: the API answers, with the API key of who asks. Bounded."""

from __future__ import annotations

import asyncio
import json

import aiohttp

from status_page.errors import ExplainUnansweredError

_SECONDS = 10.0
_MOST_BYTES = 65_536
_AT_ONCE = 4


class ExplainApi:
    """Belongs to one event loop. ``url``: of the API, without a path."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/explain"
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "Accept": "text/plain"},
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(
        self, secret: str, *, channel: str, address: str, purpose: str, language: str
    ) -> tuple[bool, list[str]]:
        """Whether it is explained, and the sentences; else what is wrong with the question. Raises
        ExplainUnansweredError."""
        headers = {"Authorization": f"Bearer {secret}", "Accept-Language": language}
        question = {"channel": channel, "address": address, "purpose": purpose}
        try:
            async with (
                self._at_once,
                self._session.post(self._url, json=question, headers=headers, allow_redirects=False) as answer,
            ):
                try:
                    await answer.content.readexactly(_MOST_BYTES + 1)
                except asyncio.IncompleteReadError as whole:
                    text = whole.partial.decode("utf-8", "replace")
                else:
                    raise ExplainUnansweredError("the answer is too large")
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ExplainUnansweredError(type(error).__name__) from None
        if status == 200:
            return True, text.splitlines()
        if 400 <= status < 500:
            return False, _faults(text)
        raise ExplainUnansweredError(f"status {status}")


def _faults(text: str) -> list[str]:
    """Of a problem document: what is wrong, and what to do."""
    try:
        document = json.loads(text)
        listed = [document, *document.get("errors", [])]
        return [str(each[name]) for each in listed for name in ("detail", "cure") if each.get(name)]
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        raise ExplainUnansweredError("the answer is no problem document") from None
