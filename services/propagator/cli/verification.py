"""What each tool answers about its destination: `consent-relay destinations check --verify`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from propagator.config.model import Destination
from propagator.connectors.base import Verified
from propagator.errors import CallFailedError, UnknownTargetsError
from propagator.sending.rate_limiter import RateLimiter


@dataclass(frozen=True, kw_only=True, slots=True)
class DestinationVerification:
    """Of one destination."""

    verified: bool
    lines: Sequence[str]
    """For a person; a warning keeps nothing from being sent."""


async def verify(destination: Destination) -> DestinationVerification:
    """Look the account and its targets up, at the destination's own pace. Changes nothing there."""
    limits = destination.limits
    limiter = RateLimiter(
        per_second=limits.calls_per_second,
        burst=limits.burst,
        clock=asyncio.get_running_loop().time,
    )
    connector = destination.connector_type.build(destination.connection)
    try:
        found = await connector.verify(budget=limiter.budget(live=True))
    except UnknownTargetsError as error:
        return DestinationVerification(verified=False, lines=[f"ERROR: {fix}" for fix in error.targets.values()])
    except CallFailedError as error:
        return DestinationVerification(verified=False, lines=[f"ERROR: not verified: {error}"])
    finally:
        await connector.close()
    return DestinationVerification(verified=True, lines=["verified", *_warnings(found or Verified())])


def _warnings(found: Verified) -> list[str]:
    warnings = [f"WARNING: {fix}" for fix in found.ineffective.values()]
    if found.not_known is not None:
        warnings.append(f"WARNING: not known whether suppressions have an effect: {found.not_known}")
    return warnings
