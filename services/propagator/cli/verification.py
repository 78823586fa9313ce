"""What each tool answers about its destination: `consent-relay destinations check --verify`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from propagator.config.model import Destination
from propagator.connectors.base import CallBudget, Verified
from propagator.errors import CallFailedError, UnknownTargetsError
from propagator.sending.rate_limiter import RateLimiter


@dataclass(frozen=True, kw_only=True, slots=True)
class DestinationVerification:
    """Of one destination. A warning keeps nothing from being sent."""

    requests: int = 0
    """How many were made: 0 where the tool has none that changes nothing there."""
    errors: Sequence[str] = ()
    warnings: Sequence[str] = ()

    @property
    def verified(self) -> bool:
        return not self.errors

    @property
    def lines(self) -> Sequence[str]:
        """For a person."""
        errors = [f"ERROR: {each}" for each in self.errors]
        return errors or ["verified", *(f"WARNING: {each}" for each in self.warnings)]


async def verify(destination: Destination) -> DestinationVerification:
    """Look the account and its targets up, at the destination's own pace. Changes nothing there."""
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
    except UnknownTargetsError as error:
        return DestinationVerification(requests=budget.requests, errors=list(error.targets.values()))
    except CallFailedError as error:
        return DestinationVerification(requests=budget.requests, errors=[f"not verified: {error}"])
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
    if found.not_known is not None:
        warnings.append(f"not known whether suppressions have an effect: {found.not_known}")
    return warnings
