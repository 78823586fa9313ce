"""What each tool answers about its destination: `consent-relay destinations check --verify`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from consent_http.ssrf import PublicOnlyResolver
from propagator.config.model import Destination
from propagator.connectors.base import CallBudget, Verified
from propagator.connectors.http import connect
from propagator.errors import CallFailedError, UnknownTargetsError
from propagator.sending.rate_limiter import RateLimiter

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DestinationVerification:
    """Of one destination. A warning keeps nothing from being sent."""

    requests: int = 0
    """How many were made: 0 where the tool has none that changes nothing there."""
    failure: CallFailedError | None = None
    warnings: Sequence[str] = ()

    @property
    def verified(self) -> bool:
        return self.failure is None

    @property
    def errors(self) -> Sequence[str]:
        """The failure, for a person; each target by itself."""
        match self.failure:
            case None:
                return []
            case UnknownTargetsError():
                return list(self.failure.targets.values())
            case _:
                return [f"not verified: {self.failure}"]

    @property
    def shown(self) -> str:
        """What is known where nothing failed."""
        if self.requests:
            return "takes our credentials, and knows every target that can be looked up"
        return (
            "a connection was made, with a valid certificate where it is https; nothing was asked (`options.check_url`)"
        )

    @property
    def lines(self) -> Sequence[str]:
        """For a person."""
        errors = [f"ERROR: {each}" for each in self.errors]
        return errors or [f"verified: {self.shown}", *(f"WARNING: {each}" for each in self.warnings)]


async def verify(destination: Destination) -> DestinationVerification:
    """Look the account and its targets up, at the destination's own pace. A tool that is asked nothing is connected to.
    Changes nothing there."""
    limits = destination.limits
    limiter = RateLimiter(
        per_second=limits.calls_per_second,
        burst=limits.burst,
        clock=asyncio.get_running_loop().time,
    )
    budget = _CountingBudget(limiter.budget(live=True))
    connector = destination.connector_type.build(destination.connection)
    try:
        found = await connector.verify(budget=budget)
        if not budget.requests and (url := destination.connection.url) is not None:
            is_public_only = destination.connection.options.get("allow_private") is False
            resolver = PublicOnlyResolver() if is_public_only else None
            await connect(url, timeout_seconds=CONNECT_SECONDS, resolver=resolver)
    except CallFailedError as error:
        return DestinationVerification(requests=budget.requests, failure=error)
    finally:
        await connector.close()
    return DestinationVerification(requests=budget.requests, warnings=_warnings(found or Verified()))


class _CountingBudget:
    """The account's rate limit, and how often it was asked."""

    def __init__(self, budget: CallBudget) -> None:
        self.requests = 0
        self._budget = budget

    async def spend(self) -> None:
        self.requests += 1
        await self._budget.spend()


def _warnings(found: Verified) -> list[str]:
    warnings = list(found.ineffective.values())
    if found.doubt is not None:
        warnings.append(found.doubt)
    return warnings
