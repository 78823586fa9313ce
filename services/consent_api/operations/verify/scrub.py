"""The continuous comparison of the lists with the ledger, in the background of a relay: one relay at a time.

It works in steps of milliseconds and sleeps much longer after each, so that the lanes of the same process never wait
for it. Whatever goes wrong here ends neither the relay nor its readiness: the age of the last pass shows it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from itertools import islice

from confluent_kafka import KafkaException
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from consent_api.errors import LedgerUnavailableError, ListUnreadableError, ScrubInterruptedError
from consent_api.operations.verify.composition import Opened
from consent_api.operations.verify.job import Checked, Summary
from consent_api.operations.verify.ledger_entries import Slice
from consent_api.operations.verify.metrics import ScrubMetrics
from consent_api.operations.verify.repairing import RepairWriter
from consent_api.operations.verify.scrub_table import LEASE_SECONDS, ScrubState, ScrubTable
from consent_contracts.errors import NotRegisteredError, RegistryUnavailableError
from consent_privacy.errors import KeyringError
from consent_service.errors import RetryStoppedError
from consent_service.retry import Backoff, Failure, retry

log = logging.getLogger(__name__)

PART = "scrub"
SHARE = 0.03
"""Of one processor."""
START_DELAY_SECONDS = 60.0
"""A relay that has just started has rows to publish."""
ADDRESSES_IN_MEMORY = 100_000
STEP_ADDRESSES = 100
STEP_RECORDS = 200
"""Compared or read between two pauses: some milliseconds, in which other threads may have to wait."""
WAIT_SECONDS = 900.0
"""For the list to get as far as the ledger was when it was read: during an import that takes minutes."""
_POLL_SECONDS = 10.0
_BACKOFF = Backoff((30.0,))
_SIGN_OF_LIFE_SECONDS = LEASE_SECONDS / 6
_REPAIRED_AT_ONCE = 100
_LOGGED_OF_A_SLICE = 20
_TRANSIENT = (
    LedgerUnavailableError,
    ListUnreadableError,
    RegistryUnavailableError,
    NotRegisteredError,
    KafkaException,
    KeyringError,
    SQLAlchemyError,
)


class Pacer:
    """Sleeps after each step, for so long that this thread uses its share of a processor at most."""

    def __init__(self, pause: Callable[[float], None], *, clock: Callable[[], float] = time.thread_time) -> None:
        self._pause = pause
        self._clock = clock
        self._used = clock()

    def __call__(self) -> None:
        now = self._clock()
        self._pause((now - self._used) * (1 / SHARE - 1))
        self._used = self._clock()


class ScrubLoop:
    """One thread, with connections and consumers of its own."""

    def __init__(
        self,
        *,
        table: ScrubTable,
        opened: Callable[[Callable[[float], None], Callable[[], None]], AbstractContextManager[Opened]],
        writer: Callable[[Callable[[float], None]], RepairWriter],
        metrics: ScrubMetrics,
        period_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`opened` takes what pauses for so many seconds and what paces; `writer`, what pauses. A pass begins each
        `period_seconds`. `clock`, in seconds: for the age of the last pass."""
        self._table = table
        self._opened = opened
        self._writer = writer
        self._metrics = metrics
        self._period = period_seconds
        self._clock = clock
        self._compared_at = clock()
        # Called at each scrape: the age goes on while the table cannot be read, or a comparison hangs.
        metrics.last_pass_age.set_function(lambda: clock() - self._compared_at)
        self._stop = threading.Event()
        self._signed_at = 0.0
        self._failed: set[Slice] = set()
        """Of this pass: parts that are tried again once the others have been compared."""

    def run(self, stop: threading.Event) -> None:
        self._stop = stop
        stop.wait(min(START_DELAY_SECONDS, self._period))
        with suppress(RetryStoppedError):
            while not stop.is_set():
                retry(self._step, on=Exception, backoff=_BACKOFF, stop=stop, report=self._report_failure)

    def _step(self) -> None:
        with suppress(ScrubInterruptedError):
            self.step()

    def _report_failure(self, failure: Failure[Exception]) -> None:
        self._metrics.failures.inc()
        if not isinstance(failure.error, _TRANSIENT):
            # A bug here must not end the lanes with it. It shows: no pass is completed any more.
            log.error("the comparison of a part of the lists has failed", exc_info=failure.error)
        elif failure.count == 1:
            why = _why(failure.error)
            log.warning("the comparison of the lists with the ledger is paused", extra={"error": why})

    def step(self) -> None:
        """Compare the next part, if this relay is the one that does and a pass is due or under way; else wait."""
        self._show(self._table.read())  # Also by one that cannot claim it, for whatever reason.
        state = self._table.claim()
        if state is None:
            self._pause(_POLL_SECONDS, sign=False)
            return
        self._signed_at = time.monotonic()
        if state.is_due(self._period, failed=self._failed):
            with self._opened(self._pause, self._pause_nothing) as work:
                self._show(self._table.begin(work.slices))
            self._failed.clear()
        elif state.next is None:
            self._pause(min(_POLL_SECONDS, self._period))
        else:
            self._compare_or_defer(state.next)
            self._show(self._table.advance())

    def _compare_or_defer(self, part: Slice) -> None:
        """A channel whose list cannot be read, or an entry on which a bug shows, keeps no other from being compared."""
        try:
            self._compare(part)
        except ScrubInterruptedError:
            raise
        except Exception:
            self._failed.add(part)
            self._table.defer()
            raise
        self._failed.discard(part)

    def _compare(self, part: Slice) -> None:
        summary, logged = Summary(), 0
        writer = self._writer(self._pause)
        with self._opened(self._pause, Pacer(self._pause)) as work:
            found = work.verification.check(part, summary)
            while some := list(islice(found, _REPAIRED_AT_ONCE)):
                logged = self._report(some, logged)
                for kind, count in writer.repair(some).kinds.items():
                    self._metrics.repairs.labels(kind).inc(count)
        self._metrics.compared.inc(summary.compared)
        self._metrics.undecided.inc(summary.undecided)
        if summary.defects:
            kinds = {kind.value: count for kind, count in summary.differences.items()}
            log.error(
                "the list differs from the ledger",
                extra={"channel": part.channel, "differences": kinds, "compared": summary.compared},
            )

    def _report(self, found: list[Checked], logged: int) -> int:
        for checked in found:
            for each in checked.differences:
                self._metrics.differences.labels(each.kind).inc()
                if each.kind.is_defect and logged < _LOGGED_OF_A_SLICE:
                    logged += 1
                    log.error(
                        "an entry of the list differs from the ledger",
                        extra={
                            "kind": each.kind.value,
                            "tenant": each.location.tenant,
                            "channel": each.location.channel,
                            "address_key": each.location.address_key,
                            "detail": each.detail,
                        },
                    )
        return logged

    def _pause(self, seconds: float, *, sign: bool = True) -> None:
        """Sleep, and give a sign of life now and then. Raises ScrubInterruptedError."""
        until = time.monotonic() + seconds
        while True:
            if sign and time.monotonic() - self._signed_at > _SIGN_OF_LIFE_SECONDS:
                if self._table.claim() is None:
                    raise ScrubInterruptedError
                self._signed_at = time.monotonic()
            left = until - time.monotonic()
            if self._stop.wait(max(0.0, min(left, _SIGN_OF_LIFE_SECONDS))):
                raise ScrubInterruptedError
            if time.monotonic() >= until:
                return

    def _pause_nothing(self) -> None:
        self._pause(0.0)

    def _show(self, state: ScrubState | None) -> None:
        if state is not None:
            self._metrics.coverage.set(state.coverage)
            if not math.isnan(state.age_seconds):
                self._compared_at = self._clock() - state.age_seconds


def _why(error: Exception) -> str:
    """Without values: a statement's parameters may be in the text. InsufficientPrivilege, for example, is what the
    driver calls an error of PostgreSQL."""
    if isinstance(error, DBAPIError):
        return type(error.orig).__name__
    return type(error).__name__ if isinstance(error, SQLAlchemyError) else str(error)
