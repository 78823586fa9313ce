"""Asks the tool whether it knows us and our targets: before anything is pushed, and while a target is wrong."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

from propagator.connector import Connector
from propagator.errors import CallFailed, Misconfigured, WrongTargets
from propagator.pace import RETRY_SECONDS, delay

log = logging.getLogger(__name__)

MISCONFIGURED_SECONDS = 30.0


class Verification:
    """`on_verified` gets True, or why not. Targets that are wrong do not keep the others waiting."""

    def __init__(
        self,
        destination: str,
        connector: Connector,
        *,
        on_verified: Callable[[bool | str], None],
        beat: Callable[[], None],
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._destination = destination
        self._connector = connector
        self._on_verified = on_verified
        self._beat = beat
        self._clock = clock
        self._rng = rng
        self.done = False

    async def first(self) -> Mapping[str, str]:
        """Returns once the account is verified, tried for ever: the targets that are wrong, with their cures."""
        wrong: Mapping[str, str] = {}
        failures = 0
        while not self.done:
            self._beat()
            try:
                await self._connector.verify()
            except WrongTargets as error:
                wrong = error.targets
            except CallFailed as error:
                failures += 1
                log.error("destination not verified", extra={"destination": self._destination, "why": str(error)})
                self._on_verified(f"not verified: {error.reason}")
                await self._pause(
                    MISCONFIGURED_SECONDS
                    if isinstance(error, Misconfigured)
                    else max(0.2, delay(RETRY_SECONDS, failures, self._rng))
                )
                continue
            self.done = True
        self._on_verified(True)
        return wrong

    async def again(self) -> Mapping[str, str] | None:
        """The targets that are wrong now; None when that cannot be told now."""
        try:
            await self._connector.verify()
        except WrongTargets as error:
            return error.targets
        except CallFailed:
            return None
        return {}

    async def _pause(self, seconds: float) -> None:
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self._beat()
            await asyncio.sleep(min(left, 1.0))
