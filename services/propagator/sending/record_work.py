"""Changes of our own records that need no call and no rate limit: suppressed targets take over decisions, what has no
target is reported as impossible, and the rows of erased addresses and retired hash keys are tombstoned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from consent_contracts.errors import RegistryUnavailableError
from propagator.config.model import Destination
from propagator.desired import outcomes
from propagator.desired.model import SUPPRESS, DesiredState, ListEntry, TargetState
from propagator.desired.receipt import Receipt, Stage
from propagator.errors import SenderFencedError, TenantMismatchError
from propagator.metrics import Metrics
from propagator.sending.bug_report import describe
from propagator.sending.delivery_state import DeliveryState
from propagator.sending.ports import Current, DestinationState, Kind, PendingPush
from propagator.sending.work_queue import WorkQueue
from propagator.timing import ERROR_BACKOFF_SECONDS, RECHECK_SECONDS, RESYNC_SECONDS

log = logging.getLogger(__name__)

ADOPTED_DETAIL = "already suppressed"
NO_TARGET_DETAIL = "the destination has no target for the purpose"
WINDOW = 2_000
SLICE = 50
"""Addresses a turn of the event loop."""
_PUSH_KINDS: tuple[Kind, ...] = ("suppress", "permit")
_RECORD_KINDS: tuple[Kind, ...] = ("record", "forget")
_BOTH_CLASSES = (True, False)


class RecordWork:
    """One destination's. `run` works in slices until it is cancelled."""

    def __init__(
        self,
        destination: Destination,
        state: DestinationState,
        queue: WorkQueue,
        metrics: Metrics,
        *,
        now_micros: Callable[[], int],
    ) -> None:
        self._destination = destination
        self._state = state
        self._queue = queue
        self._metrics = metrics
        self._now_micros = now_micros
        self._waiting: dict[str, Kind] = {}
        """Address to what is to be done, in order; the rest is in the index."""
        self._failed: dict[str, int] = {}
        """Addresses whose entry could not be worked on, and when they are tried again, in micros."""
        self._offered = asyncio.Event()

    def offer(self, row: PendingPush) -> None:
        """An address whose rows change without a call."""
        if len(self._waiting) < WINDOW:
            self._waiting[row.address_key] = row.kind
        self._offered.set()

    async def run(self) -> None:
        """Work for ever. The index is read at least every RESYNC_SECONDS: what was not done is found again there."""
        while True:
            self._offered.clear()
            if self._state.may_send():
                self._refill()
                full = len(self._waiting) >= WINDOW
                changed = 0
                while self._waiting and self._state.may_send():
                    changed += self._slice()
                    await asyncio.sleep(0)
                if full and changed:
                    # There is more. The commits of these rows keep up, so that rows in memory stay bounded.
                    await asyncio.sleep(RECHECK_SECONDS)
                    continue
            try:
                async with asyncio.timeout(RESYNC_SECONDS):
                    await self._offered.wait()
            except TimeoutError:
                continue

    def _refill(self) -> None:
        now = self._now_micros()
        self._failed = {each: retry_at for each, retry_at in self._failed.items() if retry_at > now}
        for kind in _RECORD_KINDS:
            for live in _BOTH_CLASSES:
                space = WINDOW - len(self._waiting)
                if space > 0:
                    limit = space + len(self._failed)
                    rows = self._state.pending(live=live, kind=kind, limit=limit, due_by=now)
                    self._waiting.update((row.address_key, row.kind) for row in rows)
        for address_key in self._failed:
            self._waiting.pop(address_key, None)

    def _slice(self) -> int:
        """How many addresses were changed."""
        changed = 0
        may_forget = self._nothing_to_send()
        for address_key in list(self._waiting)[:SLICE]:
            kind = self._waiting.pop(address_key)
            try:
                if kind != "forget":
                    self._record(address_key)
                elif may_forget:
                    self._forget(address_key)
                else:
                    continue
                changed += 1
            except SenderFencedError:
                return 0
            except Exception as error:
                # About this address alone; it stays in the index.
                self._failed[address_key] = self._now_micros() + int(ERROR_BACKOFF_SECONDS * 1_000_000)
                if isinstance(error, RegistryUnavailableError):
                    continue  # The state reports it, once for all addresses.
                self._metrics.push_errors.labels(self._destination.name, "record").inc()
                log.error("row not changed", extra={"destination": self._destination.name, "why": describe(error)})
        return changed

    def _nothing_to_send(self) -> bool:
        """The rows under a retired hash key go after those of its successor are delivered."""
        counts = self._state.counts()
        return not self._queue.in_flight and not any(
            counts.get((live, kind), 0) for live in _BOTH_CLASSES for kind in _PUSH_KINDS
        )

    def _forget(self, address_key: str) -> None:
        if self._state.current(address_key).plan.forget:
            self._state.forget(address_key)

    def _record(self, address_key: str) -> None:
        current = self._state.current(address_key)
        if current.entry is None:
            return
        if (current.entry.tenant, current.entry.channel) != (self._destination.tenant, self._destination.channel):
            raise TenantMismatchError(self._destination.name)
        for wanted in current.plan.adoptions:
            if self._queue.state_of(address_key, wanted.target) in (DeliveryState.IDLE, DeliveryState.QUEUED):
                self._adopt(current, current.entry, wanted)
        if current.plan.unmapped is not None:
            self._report_unmapped(current, current.entry, current.plan.unmapped)

    def _adopt(self, current: Current, entry: ListEntry, wanted: TargetState) -> None:
        row = outcomes.adopted(current.delivered[wanted.target], wanted)
        stages: tuple[Stage, ...] = ("accepted", "effective")
        receipts = [
            self._receipt(
                entry,
                stage,
                wanted.decision_ids,
                target=wanted.target,
                version=row.version,
                recorded_at=wanted.recorded_at,
                detail=ADOPTED_DETAIL,
            )
            for stage in stages
        ]
        self._state.record(entry.address_key, row, target=wanted.target, receipts=receipts)
        self._metrics.pushes.labels(self._destination.name, SUPPRESS, "adopted").inc()

    def _report_unmapped(self, current: Current, entry: ListEntry, state: DesiredState) -> None:
        row = outcomes.unmapped(state, now=self._now_micros(), fill_began_at=current.fill_began_at)
        receipt = self._receipt(
            entry,
            "impossible",
            state.unmapped_decisions,
            target=None,
            version=0,
            recorded_at=state.unmapped_recorded_at,
            detail=NO_TARGET_DETAIL,
        )
        self._state.record(entry.address_key, row, target=row.target, receipts=[receipt])
        self._metrics.pushes.labels(self._destination.name, SUPPRESS, "no_target").inc()

    def _receipt(
        self,
        entry: ListEntry,
        stage: Stage,
        decision_ids: tuple[str, ...],
        *,
        target: str | None,
        version: int,
        recorded_at: int,
        detail: str,
    ) -> Receipt:
        now = self._now_micros()
        return Receipt(
            tenant=entry.tenant,
            destination=self._destination.name,
            channel=entry.channel,
            address_key=entry.address_key,
            target=target,
            action=SUPPRESS,
            stage=stage,
            decision_ids=decision_ids,
            version=version,
            recorded_at=recorded_at,
            queued_at=now,
            reached_at=now,
            attempts=0,
            detail=detail,
        )
