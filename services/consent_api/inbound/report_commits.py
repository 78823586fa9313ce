"""Bounces and deliveries that come while others are being written share the next transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import anyio.to_thread
from sqlalchemy import Connection

from consent_api.ledger import deliverability
from consent_api.ledger.deliverability import Report
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger

MOST_IN_ONE = 1_000
"""Reports in one transaction; one webhook's are not divided."""


class ReportCommits:
    """For one event loop. The lane is the bulk one's: the tool alone waits for these."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = asyncio.Lock()
        self._waiting: list[tuple[Sequence[Report], asyncio.Future[None]]] = []

    async def commit(self, reports: Sequence[Report]) -> None:
        """Returns once they are committed. LedgerUnavailableError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((reports, done))
        try:
            async with self._turn:
                while not done.done():
                    await self._write(self._next())
            done.result()
        finally:
            done.cancel()

    def _next(self) -> list[tuple[Sequence[Report], asyncio.Future[None]]]:
        taken, count = 0, 0
        for reports, _ in self._waiting:
            if taken and count + len(reports) > MOST_IN_ONE:
                break
            taken, count = taken + 1, count + len(reports)
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group

    async def _write(self, group: Sequence[tuple[Sequence[Report], asyncio.Future[None]]]) -> None:
        all_of_them = [report for reports, _ in group for report in reports]
        try:
            # One of the threads that questions share: each has a connection of the pool.
            await anyio.to_thread.run_sync(self._ledger.write, Lane.BULK, partial(self._record, all_of_them))
        except Exception as error:
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
        else:
            for _, done in group:
                if not done.done():
                    done.set_result(None)

    def _record(self, reports: Sequence[Report], connection: Connection, now: int) -> None:
        deliverability.record(connection, self._ledger.context, reports, now=now)
