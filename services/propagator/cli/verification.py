"""What each tool answers about its destination: `consent-relay destinations check --verify`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

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
    found: Verified = field(default_factory=Verified)

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
    def warnings(self) -> Sequence[str]:
        return [*self.found.ineffective.values(), *filter(None, [self.found.doubt])]

    @property
    def shown(self) -> str:
        """What is known where nothing failed."""
        if self.found.doubt is not None:
            return "nothing was found that keeps pushes from being tried"
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
    """Look the account and its targets up, at the destination's own pace. Where that shows less than all, a connection
    is made to where pushes go. Changes nothing there."""
    limits, connection = destination.limits, destination.connection
    limiter = RateLimiter(
        per_second=limits.calls_per_second,
        burst=limits.burst,
        clock=asyncio.get_running_loop().time,
    )
    budget = _CountingBudget(limiter.budget(live=True))
    connector = destination.connector_type.build(connection)
    try:
        found = await connector.verify(budget=budget) or Verified()
        url = connection.url or destination.connector_type.host
        if url is not None and (found.doubt is not None or not budget.requests):
            resolver = PublicOnlyResolver() if connection.options.get("allow_private") is False else None
            await connect(url, timeout_seconds=CONNECT_SECONDS, resolver=resolver)
    except CallFailedError as error:
        return DestinationVerification(requests=budget.requests, failure=error)
    finally:
        await connector.close()
    return DestinationVerification(requests=budget.requests, found=found)


class _CountingBudget:
    """The account's rate limit, and how often it was asked."""

    def __init__(self, budget: CallBudget) -> None:
        self.requests = 0
        self._budget = budget

    async def spend(self) -> None:
        self.requests += 1
        await self._budget.spend()
