"""One push from the two states to the provider and back: what may be sent, the push itself, and what its outcome means
for the target's row. Nothing here knows of queues, calls or time-outs of calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache

import msgspec

from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring
from consent_service import trace_context
from consent_service.trace_context import TraceContext
from propagator.config.model import Destination
from propagator.connectors.base import Accepted, Push, Refused
from propagator.desired import outcomes
from propagator.desired.decision_ids import matches
from propagator.desired.latency import latency_starts_at
from propagator.desired.model import (
    PERMIT,
    SEAL_FAULTS,
    SUPPRESS,
    DeliveredTarget,
    ListEntry,
    PlannedPush,
    seal_fault,
)
from propagator.desired.receipt import Receipt, Stage
from propagator.errors import PushNotBuildableError, TenantMismatchError
from propagator.metrics import Metrics
from propagator.sending.backoff import FAILURES_UNTIL_A_MINUTE
from propagator.sending.ports import Current, DestinationState
from propagator.timing import SETTLE_CALL_TIMEOUTS

SECOND = 1_000_000


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One push as it was planned for one call."""

    address_key: str
    planned: PlannedPush
    entry: ListEntry
    row_before: DeliveredTarget | None
    """The target's row when the call was planned."""
    version: int
    fill_began_at: int
    queued_at: int
    attempts: int
    """Calls for this push, this one included."""
    waits_since: int | None = None
    """When a live revocation was recorded that has waited since, and was stated again meanwhile, micros."""

    @property
    def target(self) -> str:
        return self.planned.state.target

    @property
    def trace(self) -> TraceContext | None:
        """Of the decision that it delivers. None where it belongs to no request: a fill delivers what is older."""
        if self.entry.traceparent is None or self.entry.written_at < self.fill_began_at:
            return None
        return trace_context.parse(self.entry.traceparent)

    @property
    def is_permission(self) -> bool:
        return self.planned.state.action == PERMIT

    @property
    def is_repetition(self) -> bool:
        """The destination took it already; it is delivered once more, as a permission could have overtaken it."""
        row = self.row_before
        return (
            row is not None
            and row.delivered_at is not None
            and row.refused is None
            and row.action == self.planned.state.action == SUPPRESS
            and matches(row.decision_ids, self.planned.state.decision_ids)
            and row.fill_began_at == self.fill_began_at
        )


class DeliveryPolicy:
    """One destination's. `backoff` gives the seconds after so many failures of an address alone."""

    def __init__(
        self,
        destination: Destination,
        state: DestinationState,
        keyring: Callable[[], Keyring],
        metrics: Metrics,
        *,
        now_micros: Callable[[], int],
        backoff: Callable[[int], float],
    ) -> None:
        self._destination = destination
        self._state = state
        self._keyring = keyring
        # Found for each push otherwise, which takes as long as counting it.
        self._pushes = cache(metrics.pushes.labels)
        self._latency = cache(metrics.latency.labels)
        self._now_micros = now_micros
        self._backoff = backoff
        self._address_required = destination.capabilities.address_required
        self._in_force = destination.connector_type.in_force
        self._settle_micros = int(SETTLE_CALL_TIMEOUTS * destination.connection.timeout_seconds * SECOND)

    def together(self, address_keys: Sequence[str]) -> AbstractContextManager[None]:
        """Around `plan`, and around what is recorded, for many address keys: see the state's own."""
        return self._state.together(address_keys)

    # Before the call

    def may_send(self) -> bool:
        """Whether this process surely is the active sender."""
        return self._state.may_send()

    def plan(
        self, address_key: str, target: str, *, queued_at: int, attempts: int = 0, live_since: int | None = None
    ) -> Delivery | None:
        """What the target is to be sent now; None: nothing. `attempts`: calls that this process has made for it.
        `live_since`: when the live revocation was decided that is queued (micros): it stays live until it is delivered.

        Raises what the state raises for an unreadable entry.
        """
        current = self._state.current(address_key)
        planned = _push_to(current, target)
        if planned is None or current.entry is None:
            return None
        self._check_tenant(current.entry)
        waits_since = None
        if live_since is not None and live_since > current.fill_began_at and planned.state.action == SUPPRESS:
            waits_since = live_since if live_since < planned.since else None
            planned = msgspec.structs.replace(planned, live=True, since=min(planned.since, live_since))
        row = current.delivered.get(target)
        return Delivery(
            address_key=address_key,
            planned=planned,
            entry=current.entry,
            row_before=row,
            version=outcomes.next_version(
                row, written_at=current.entry.written_at, clock=self._now_micros(), newest_append=current.newest_append
            ),
            fill_began_at=current.fill_began_at,
            queued_at=queued_at,
            attempts=max(attempts, planned.attempts) + 1,
            waits_since=waits_since,
        )

    def build(self, delivery: Delivery) -> Push:
        """The connector's push, with the address unsealed. Raises PushNotBuildableError and TenantMismatchError."""
        self._check_tenant(delivery.entry)
        wanted = delivery.planned.state
        return Push(
            push_id=self._push_id(delivery),
            tenant=delivery.entry.tenant,
            channel=delivery.entry.channel,
            address_key=delivery.address_key,
            address=self._address(delivery.entry) if self._address_required else "",
            action=wanted.action,
            target=wanted.target,
            purposes=wanted.purposes,
            reason=wanted.reason,
            decision_ids=wanted.decision_ids,
            version=delivery.version,
            occurred_at=wanted.occurred_at,
            recorded_at=wanted.recorded_at,
            expires_at=wanted.expires_at,
        )

    async def begin_permission(self, delivery: Delivery) -> None:
        """Commit that the permission is in doubt. Raises SenderFencedError when another process is active."""
        row = outcomes.permit_begins(delivery.planned, version=delivery.version, fill_began_at=delivery.fill_began_at)
        await self._state.record_now(delivery.address_key, row, target=delivery.target)

    def hindrance(self, address_key: str) -> str | None:
        """Why no permission may be sent for this address now."""
        return self._state.permission_hindrance(address_key)

    def still_permits(self, delivery: Delivery) -> bool:
        """Asked in the write of the request: whether the permission of this call is still what is desired.

        Where that cannot be found out it is not sent.
        """
        if self._state.permission_hindrance(delivery.address_key) is not None:
            return False
        try:
            planned = _push_to(self._state.current(delivery.address_key), delivery.target)
        except Exception:
            return False  # It is planned again, and the exception is reported there.
        return (
            planned is not None
            and planned.state.action == PERMIT
            and set(planned.state.decision_ids) == set(delivery.planned.state.decision_ids)
        )

    # After the call

    def on_accepted(self, delivery: Delivery, outcome: Accepted, *, now: int) -> float | None:
        """The destination has it, and said so at `now`. Seconds until it is to be delivered once more; None: never."""
        row = outcomes.accepted(
            delivery.row_before,
            delivery.planned,
            version=delivery.version,
            now=now,
            fill_began_at=delivery.fill_began_at,
            settles_at=now + self._settle_micros,
            reference=outcome.reference,
        )
        receipts: list[Receipt] = []
        if not delivery.is_repetition:
            stages: list[Stage] = ["accepted", "effective"] if outcome.effective else ["accepted"]
            in_force = None if delivery.is_permission else self._in_force(delivery.target) or None
            receipts = [
                self._receipt(
                    delivery,
                    stage,
                    now,
                    reference=outcome.reference,
                    detail=in_force if stage == stages[-1] else None,
                )
                for stage in stages
            ]
        self._record(delivery, row, receipts)
        self._count(delivery, "repeated" if delivery.is_repetition else "accepted")
        self._observe_latency(delivery, now)
        if row is None or not row.in_doubt or row.repeat_at is None:
            return None
        return max(0, row.repeat_at - now) / SECOND

    def on_refused(self, delivery: Delivery, outcome: Refused, *, now: int) -> None:
        """The destination will never take it for this address, and said so at `now`."""
        known = outcome.code if outcome.code in SEAL_FAULTS else "refused"
        row = outcomes.refused(
            delivery.row_before,
            delivery.planned,
            code=seal_fault(outcome.code, delivery.entry.sealed_address),
            version=delivery.version,
            now=now,
            fill_began_at=delivery.fill_began_at,
            settles_at=now + self._settle_micros,
        )
        receipt = self._receipt(delivery, "impossible", now, detail=outcome.code)
        self._record(delivery, row, [receipt])
        self._count(delivery, known)

    def on_failed(self, delivery: Delivery, reason: str, *, sent: bool, after: float = 0.0) -> float:
        """An attempt failed for this address alone. `sent`: the request may have been executed. `after`: seconds that
        the provider asks to wait. Returns the seconds until the next attempt."""
        failures = delivery.planned.attempts + 1
        seconds = max(after, self._backoff(failures))
        now = self._now_micros()
        row = outcomes.failed(
            self._row_after(delivery, sent=sent),
            delivery.planned,
            reason=seal_fault(reason, delivery.entry.sealed_address),
            retry_at=now + int(seconds * SECOND),
        )
        receipts = []
        if failures in (1, FAILURES_UNTIL_A_MINUTE):
            detail = reason if failures == 1 else f"{reason}: tried again in minutes, then hours"
            receipts = [self._receipt(delivery, "failed", now, detail=detail)]
        self._record(delivery, row, receipts)
        return seconds

    def on_not_sent(self, delivery: Delivery) -> None:
        """The call surely never reached the destination, or was rejected as a whole."""
        if delivery.is_permission:
            self._record(delivery, outcomes.not_sent(delivery.row_before, delivery.planned), [])

    def send_queued_receipt(self, address_key: str, target: str, *, queued_at: int, live_since: int) -> None:
        """A live revocation takes longer than usual: reported once."""
        delivery = self.plan(address_key, target, queued_at=queued_at, live_since=live_since)
        if delivery is not None and delivery.planned.live and not delivery.is_permission:
            receipt = self._receipt(delivery, "queued", self._now_micros(), attempts=delivery.planned.attempts)
            self._state.record_receipts(address_key, [msgspec.structs.replace(receipt, version=0)])

    # Within

    def _check_tenant(self, entry: ListEntry) -> None:
        if (entry.tenant, entry.channel) != (self._destination.tenant, self._destination.channel):
            raise TenantMismatchError(self._destination.name)

    def _address(self, entry: ListEntry) -> str:
        if entry.sealed_address is None:
            raise PushNotBuildableError("no_address")
        try:
            return self._keyring().open(entry.address_key, entry.sealed_address)
        except DecryptionFailedError as error:
            raise PushNotBuildableError("unsealable", retryable=error.reason == "unknown_key") from error

    def _push_id(self, delivery: Delivery) -> str:
        """The same for the retries of one call; another once the row has changed, so that a receiver that drops ids it
        knows drops no state that was replaced in between. Every call of a permission changes the row."""
        row = delivery.row_before
        wanted = delivery.planned.state
        since = "" if row is None else str(row.version)
        parts = (self._destination.name, delivery.address_key, wanted.target, wanted.action, since)
        return hashlib.blake2b("\0".join((*parts, *wanted.decision_ids)).encode(), digest_size=16).hexdigest()

    def _row_after(self, delivery: Delivery, *, sent: bool) -> DeliveredTarget | None:
        """The row as it is after a call without an answer."""
        if delivery.is_permission and sent:
            return outcomes.permit_begins(
                delivery.planned, version=delivery.version, fill_began_at=delivery.fill_began_at
            )
        return delivery.row_before

    def _receipt(
        self,
        delivery: Delivery,
        stage: Stage,
        now: int,
        *,
        attempts: int | None = None,
        reference: str | None = None,
        detail: str | None = None,
    ) -> Receipt:
        wanted = delivery.planned.state
        return Receipt(
            tenant=delivery.entry.tenant,
            destination=self._destination.name,
            channel=self._destination.channel,
            address_key=delivery.address_key,
            target=wanted.target,
            action=wanted.action,
            stage=stage,
            decision_ids=wanted.decision_ids,
            version=delivery.version,
            recorded_at=wanted.recorded_at,
            queued_at=delivery.queued_at,
            reached_at=now,
            attempts=delivery.attempts if attempts is None else attempts,
            provider_reference=reference,
            detail=detail,
            traceparent=str(trace) if (trace := delivery.trace) is not None else None,
        )

    def _record(self, delivery: Delivery, row: DeliveredTarget | None, receipts: Sequence[Receipt]) -> None:
        self._state.record(delivery.address_key, row, target=delivery.target, receipts=receipts)

    def _count(self, delivery: Delivery, outcome: str) -> None:
        self._pushes(self._destination.name, delivery.planned.state.action, outcome).inc()

    def _observe_latency(self, delivery: Delivery, now: int) -> None:
        planned = delivery.planned
        if planned.leaving or delivery.is_repetition:
            return
        since = latency_starts_at(planned.state, delivery.entry.written_at)
        if not planned.live:
            since = max(since, delivery.fill_began_at)
        if delivery.waits_since is not None:
            since = min(since, delivery.waits_since)
        latency = self._latency(
            self._destination.channel,
            self._destination.name,
            "live" if planned.live else "bulk",
            planned.state.action,
        )
        latency.observe(max(0, now - since) / SECOND)


def _push_to(current: Current, target: str) -> PlannedPush | None:
    return next((each for each in current.plan.pushes if each.state.target == target), None)
