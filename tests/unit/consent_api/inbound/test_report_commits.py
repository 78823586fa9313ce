"""Bounces and deliveries share transactions, and each request hears of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from consent_api.errors import LedgerUnavailableError
from consent_api.inbound.report_commits import MOST_IN_ONE, ReportCommits
from consent_api.ledger.deliverability import Report
from consent_api.ledger.lanes import Lane


class Ledger:
    """Counts what each transaction is given, and waits for a sign within the first."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.fails = False

    def write(self, lane: Lane, work: Any) -> None:
        assert lane is Lane.BULK
        self.written.append(len(work.args[0]))
        self.begun.set()
        assert self.go_on.wait(30)
        if self.fails:
            raise LedgerUnavailableError("unavailable")


def reports(count: int = 1) -> list[Report]:
    return [Report(named=("acme", "email", "p@example.com"), status="delivered", occurred_at=None, evidence={})] * count


async def begun(ledger: Ledger, commits: ReportCommits) -> asyncio.Task[None]:
    first = asyncio.create_task(commits.commit(reports()))
    await asyncio.to_thread(ledger.begun.wait, 30)
    return first


async def test_those_that_come_meanwhile_share_the_next_transaction() -> None:
    ledger = Ledger()
    commits = ReportCommits(ledger)  # type: ignore[arg-type]
    first = await begun(ledger, commits)
    more = [asyncio.create_task(commits.commit(reports(count))) for count in (2, 3, MOST_IN_ONE)]
    await asyncio.sleep(0)
    ledger.go_on.set()
    await asyncio.wait_for(asyncio.gather(first, *more), 30)
    assert ledger.written == [1, 5, MOST_IN_ONE]


async def test_a_failure_is_that_of_all_in_the_transaction_and_of_no_other() -> None:
    ledger = Ledger()
    ledger.fails = True
    commits = ReportCommits(ledger)  # type: ignore[arg-type]
    first = await begun(ledger, commits)
    second = asyncio.create_task(commits.commit(reports()))
    ledger.go_on.set()
    for each in (first, second):
        with pytest.raises(LedgerUnavailableError):
            await asyncio.wait_for(each, 30)
    ledger.fails = False
    await asyncio.wait_for(commits.commit(reports()), 30)


async def test_who_is_gone_holds_up_no_other() -> None:
    ledger = Ledger()
    commits = ReportCommits(ledger)  # type: ignore[arg-type]
    first = await begun(ledger, commits)
    gone = asyncio.create_task(commits.commit(reports(MOST_IN_ONE)))
    stays = asyncio.create_task(commits.commit(reports(2)))
    await asyncio.sleep(0)
    gone.cancel()
    ledger.go_on.set()
    await asyncio.wait_for(asyncio.gather(first, stays), 30)
    assert sum(ledger.written) >= 3
    with pytest.raises(asyncio.CancelledError):
        await gone
