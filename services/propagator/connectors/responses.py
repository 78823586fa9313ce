"""What an HTTP response means from any provider: throttled, down, misconfigured; the rest is the provider's own."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from consent_service.json_logs import redact
from propagator.connectors.http import HttpResponse
from propagator.errors import DestinationDownError, MisconfiguredError, ThrottledError

T = TypeVar("T")

MAX_RETRY_AFTER_SECONDS = 3_600.0
"""A longer `Retry-After` counts as this: a revocation cannot wait a day."""

_RESET_HEADERS = ("Retry-After", "X-RateLimit-Reset", "RateLimit-Reset", "X-Rate-Limit-Reset", "inin-ratelimit-reset")
"""Those that say when to come back, the standard's first. The last is Genesys Cloud's."""
_EPOCH_UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e9, 1.0))
"""From this number on it is a moment, in units of so many seconds since 1970; below, it is seconds to go."""


def retry_after(headers: Mapping[str, str], *, names: Sequence[str] = _RESET_HEADERS) -> float | None:
    """Seconds from now for which the provider asks us to wait, at most an hour, whatever form it says it in: seconds to
    go, an HTTP or ISO date, or a moment since 1970. None where it asks for none: no such header, one that cannot be
    read, 0, or a moment that has passed."""
    for name in names:
        given = headers.get(name, "").strip()
        seconds = _until(float(given)) if _is_number(given) else _until_date(given)
        if seconds is not None and seconds > 0.0:
            return min(seconds, MAX_RETRY_AFTER_SECONDS)
    return None


def raise_for_status(response: HttpResponse) -> None:
    """Raise for the statuses that mean the same everywhere; returns for 2xx and for 4xx that are the provider's own."""
    status = response.status
    if status == 429:
        raise ThrottledError("throttled", "429", retry_after=retry_after(response.headers))
    # Not the other headers: some providers send those with every answer, and an outage is no rate limit.
    if status in (502, 503, 504) and (wish := retry_after(response.headers, names=("Retry-After",))) is not None:
        raise ThrottledError("unavailable", f"{status} with a time to retry after", retry_after=wish, in_doubt=True)
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise DestinationDownError("malformed", f"{response.status} with a body that is not the provider's") from None


def parsed_error(response: HttpResponse, format_: type[T]) -> T | None:
    """The body of an error as `format_`; None when it is of another form: the status alone says what happened then."""
    try:
        return parsed(response, format_)
    except DestinationDownError:
        return None


MAX_REFERENCE_CHARACTERS = 200


def reference(given: str | None) -> str | None:
    """What a provider calls a request, as a receipt can keep it. None for what is long, unprintable, or could be an
    address: receipts are stored in the clear."""
    if given is None or len(given) > MAX_REFERENCE_CHARACTERS or not (given.isascii() and given.isprintable()):
        return None
    return given if redact(given) == given else None


MAX_WORDS_CHARACTERS = 100


def words(*given: object) -> str:
    """What a provider says for a person, as a log and a receipt can keep it: bounded, printable, without addresses.

    Empty where there is no text among what is given.
    """
    texts = [redact(each) for each in given if isinstance(each, str)]
    printable = "".join(each if each.isascii() and each.isprintable() else " " for each in ", ".join(texts))
    return " ".join(printable.split())[:MAX_WORDS_CHARACTERS]


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _until(number: float) -> float:
    for least, seconds in _EPOCH_UNITS:
        if number >= least:
            return number * seconds - time.time()
    return number


def _until_date(date: str) -> float | None:
    for read in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(date)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time()
        except (ValueError, OverflowError):
            continue
    return None
