"""Fetching what SNS names: its signing certificate, and the URL that confirms a subscription. Bounded, without
redirects, from hosts that `providers.aws_sns` has checked."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable

from consent_api.errors import NotFetchedError

_TIMEOUT_SECONDS = 5.0
_LONGEST = 65_536
_KEPT_SECONDS = 24 * 3600.0
_FAILED_SECONDS = 30.0
_MOST = 32


def fetch(url: str) -> bytes:
    """The body at an https URL. NotFetchedError."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPSConnection(
        parts.netloc, timeout=_TIMEOUT_SECONDS, context=ssl.create_default_context()
    )
    try:
        connection.request("GET", urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, "")))
        answer = connection.getresponse()
        body = answer.read(_LONGEST + 1)
        if answer.status != 200 or len(body) > _LONGEST:
            raise NotFetchedError
        return body
    except (OSError, http.client.HTTPException):
        raise NotFetchedError from None
    finally:
        connection.close()


class Certificates:
    """Keeps what was fetched, and for a while what was not. Thread-safe."""

    def __init__(self, fetch: Callable[[str], bytes], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, bytes | None]] = {}

    def __call__(self, url: str) -> bytes:
        with self._lock:
            known = self._known.get(url)
        if known is not None and self._clock() < known[0]:
            if known[1] is None:
                raise NotFetchedError
            return known[1]
        try:
            found = self._fetch(url)
        except NotFetchedError:
            self._keep(url, _FAILED_SECONDS, None)
            raise
        self._keep(url, _KEPT_SECONDS, found)
        return found

    def _keep(self, url: str, seconds: float, found: bytes | None) -> None:
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[url] = (self._clock() + seconds, found)
