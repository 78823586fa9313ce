"""What an HTTP response means from any provider: throttled, down, misconfigured; the rest is the provider's own."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from propagator.connectors.http import HttpResponse
from propagator.errors import DestinationDownError, MisconfiguredError, ThrottledError

T = TypeVar("T")

MAX_RETRY_AFTER_SECONDS = 3_600.0
"""A longer `Retry-After` counts as this: a revocation cannot wait a day."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now by `Retry-After` (seconds or HTTP date) or else `X-RateLimit-Reset` (epoch seconds)."""
    given = headers.get("Retry-After", "").strip()
    if given:
        return _bounded(float(given) if _is_number(given) else _until(given))
    reset = headers.get("X-RateLimit-Reset", "").strip()
    return _bounded(float(reset) - time.time()) if _is_number(reset) else None


def raise_for_status(response: HttpResponse) -> None:
    """Raise for the statuses that mean the same everywhere; returns for 2xx and for 4xx that are the provider's own."""
    status = response.status
    if status == 429:
        raise ThrottledError("throttled", "429", retry_after=retry_after(response.headers))
    if status == 503 and (wish := retry_after(response.headers)) is not None:
        raise ThrottledError("unavailable", "503 with a time to retry after", retry_after=wish)
    if status >= 500 or status < 200:
        raise DestinationDownError(f"http_{status}", "the provider failed")
    if status in (408, 425):
        raise DestinationDownError(f"http_{status}", "the provider did not get the whole request in time")
    if status >= 300 and status < 400:
        raise MisconfiguredError("redirected", f"{status}: redirects are not followed: put the final address in `url`")
    if status in (401, 403):
        raise MisconfiguredError("credentials", f"{status}: check the credentials and what they may do")
    if status in (405, 406, 410, 415):
        raise MisconfiguredError(f"http_{status}", "the provider does not take such calls here: check `url`")


def parsed(response: HttpResponse, format_: type[T]) -> T:
    """The body as `format_`. A response that is not the provider's format proves nothing: DestinationDownError."""
    try:
        return msgspec.json.decode(response.body, type=format_)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DestinationDownError("malformed", f"{response.status} with a body that is not the provider's") from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _until(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
