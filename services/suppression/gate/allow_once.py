"""Using up a token for the one text that confirms a STOP. Gates share nothing, so the API decides which of them is
first. Bounded; what fails permits nothing."""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import urllib.parse

import anyio
import anyio.to_thread

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 3.0
_LONGEST = 4_096
_AT_ONCE = 8


class AllowOnceApi:
    """For one event loop. ``url``: of the API, without a path."""

    def __init__(self, url: str) -> None:
        self._url = urllib.parse.urlsplit(url)
        self._threads = anyio.CapacityLimiter(_AT_ONCE)

    async def use(self, authorization: str, *, channel: str, address_key: str, token: str) -> bool | None:
        """Whether the text may be sent now; with the caller's own API key. None: the API has not answered, and the
        token may be used up all the same."""
        body = json.dumps({"channel": channel, "address_key": address_key, "token": token}).encode()
        return await anyio.to_thread.run_sync(self._ask, authorization, body, limiter=self._threads)

    def _ask(self, authorization: str, body: bytes) -> bool | None:
        connection = self._connection()
        try:
            headers = {"Authorization": authorization, "Content-Type": "application/json"}
            connection.request("POST", f"{self._url.path.rstrip('/')}/v1/allow-once/use", body, headers)
            answer = connection.getresponse()
            content = answer.read(_LONGEST)
            return json.loads(content)["permitted"] is True if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError) as error:
            log.warning("the API did not answer for an allow-once token", extra={"why": type(error).__name__})
            return None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._url.netloc, timeout=_TIMEOUT_SECONDS, context=context)
        return http.client.HTTPConnection(self._url.netloc, timeout=_TIMEOUT_SECONDS)
