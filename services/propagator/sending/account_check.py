"""Asks the tool whether it knows our account and our targets: before anything is sent, then while a target is wrong and
from time to time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

from consent_service.retry import Backoff
from propagator.connectors.base import Connector, Verified
from propagator.errors import CallFailedError, MisconfiguredError, ThrottledError, UnknownTargetsError
from propagator.sending.backoff import throttle_backoff
from propagator.sending.rate_limiter import RateLimiter
from propagator.timing import (
    ACCOUNT_CHECK_SECONDS,
    BACKOFF_SECONDS,
    HOLD_SECONDS,
    MAX_REVOCATION_INTERVAL_SECONDS,
    VERIFY_MIN_SECONDS,
)

log = logging.getLogger(__name__)

_UNANSWERED = Backoff(BACKOFF_SECONDS[:9], jitter=1.0)


class AccountCheck:
    """`on_verified` gets True, or why the account is not verified. Unknown targets do not keep the others waiting."""

    def __init__(
        self,
        destination: str,
        connector: Connector,
        limiter: RateLimiter,
        *,
        on_verified: Callable[[bool | str], None],
        heartbeat: Callable[[], None],
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._destination = destination
        self._connector = connector
        self._limiter = limiter
        self._on_verified = on_verified
        self._heartbeat = heartbeat
        self._clock = clock
        self._rng = rng
        self._check_at = float("-inf")
        self.verified = False
        self.found = Verified()

    async def wait_until_verified(self) -> Mapping[str, str]:
        """Returns once the account is verified, tried for ever: the targets that are unknown, with the fix of each."""
        failures = 0
        while True:
            self._heartbeat()
            try:
                unknown = await self._verify()
            except Exception as error:
                failures += 1
                reason = error.reason if isinstance(error, CallFailedError) else type(error).__name__
                log.error("destination not verified", extra={"destination": self._destination, "why": str(error)})
                self._on_verified(f"not verified: {reason}")
                await self._pause(self._seconds_after(error, failures))
                continue
            self.verified = True
            self._on_verified(True)
            return unknown

    async def recheck(self) -> Mapping[str, str] | None:
        """The targets that are unknown now; None when that cannot be found out now."""
        try:
            return await self._verify()
        except Exception as error:
            log.warning("targets not checked", extra={"destination": self._destination, "why": str(error)})
            return None

    def is_due(self) -> bool:
        """Whether the account was verified, and the last check is long ago."""
        return self.verified and self._clock() >= self._check_at

    async def _verify(self) -> Mapping[str, str]:
        self._check_at = self._clock() + ACCOUNT_CHECK_SECONDS
        try:
            found = await self._connector.verify(budget=self._limiter.budget(live=True))
        except UnknownTargetsError as error:
            return error.targets
        self._report(found or Verified())
        return {}

    def _report(self, found: Verified) -> None:
        """Log what is new of it."""
        for target, fix in found.ineffective.items():
            if target not in self.found.ineffective:
                log.warning(
                    "target has no effect at the destination",
                    extra={"destination": self._destination, "target": target, "why": fix},
                )
        if found.doubt is not None and found.doubt != self.found.doubt:
            log.warning(
                "destination verified, but for what it does not show",
                extra={"destination": self._destination, "why": found.doubt},
            )
        self.found = found

    def _seconds_after(self, error: Exception, failures: int) -> float:
        """Until the next attempt: our own schedule, or what the provider asks for within a revocation's interval."""
        match error:
            case MisconfiguredError():
                return HOLD_SECONDS
            case ThrottledError():
                wish = min(error.retry_after or 0.0, MAX_REVOCATION_INTERVAL_SECONDS)
                return max(throttle_backoff(failures, self._rng), wish)
            case _:
                return max(VERIFY_MIN_SECONDS, _UNANSWERED.seconds(failures, self._rng))

    async def _pause(self, seconds: float) -> None:
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self._heartbeat()
            await asyncio.sleep(min(left, 1.0))
