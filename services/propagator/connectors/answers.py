"""What an HTTP answer means whoever gives it: throttled, down, misconfigured; the rest is the provider's own."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from propagator.connectors.exchange import Answer
from propagator.errors import DestinationDown, Misconfigured, Throttled

T = TypeVar("T")

LONGEST_WISH = 3_600.0
"""A provider that wishes to be left alone for longer is asked again after this: a revocation cannot wait a day."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now by `Retry-After` (seconds or HTTP date) or else `X-RateLimit-Reset` (epoch seconds)."""
    told = headers.get("Retry-After", "").strip()
    if told:
        return _bounded(float(told) if _is_number(told) else _until(told))
    reset = headers.get("X-RateLimit-Reset", "").strip()
    return _bounded(float(reset) - time.time()) if _is_number(reset) else None


def raise_common(answer: Answer) -> None:
    """Raise for the answers that mean the same everywhere; returns for 2xx and for 4xx that are the provider's own."""
    status = answer.status
    if status == 429:
        raise Throttled("throttled", "429", retry_after=retry_after(answer.headers))
    if status == 503 and (wish := retry_after(answer.headers)) is not None:
        raise Throttled("unavailable", "503 with the time to come back", retry_after=wish)
    if status >= 500 or status < 200:
        raise DestinationDown(f"http_{status}", "the provider failed")
    if status in (408, 425):
        raise DestinationDown(f"http_{status}", "the provider did not get the whole request in time")
    if status >= 300 and status < 400:
        raise Misconfigured("redirected", f"{status}: redirects are not followed: put the final address in `url`")
    if status in (401, 403):
        raise Misconfigured("credentials", f"{status}: check the credentials and what they may do")
    if status in (405, 406, 410, 415):
        raise Misconfigured(f"http_{status}", "the provider does not take such calls here: check `url`")


def parsed(answer: Answer, wanted: type[T]) -> T:
    """The body as `wanted`. An answer that is not the provider's format proves nothing: DestinationDown."""
    try:
        return msgspec.json.decode(answer.body, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DestinationDown("malformed", f"{answer.status} with a body that is not the provider's") from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _until(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WISH)
