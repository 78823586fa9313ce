"""What a checker answers, and until when the answer may be used. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from consent_client.snapshot import ListSnapshot
from consent_contracts.partitioner import partition_of
from consent_contracts.reading import UNKNOWN, Verdict
from consent_kafka.resolved import StalenessLimits
from consent_service.clock import elapsed_micros, now_micros

Policy = Literal["allow", "deny"]

VALID_MICROS = 60_000_000
"""An answer may be used for as long at most."""

HINDRANCES = {
    "loading": "the list is not loaded",
    "hole": "Kafka has lost records of this part of the list, which is being repaired",
    "unknown": "no resolved timestamp has reached this part of the list yet",
    "stale": "live decisions may be missing; the relay, the merge or Kafka makes no progress",
    "inbound_stale": "submissions on Kafka may not be recorded yet; ingest makes no progress",
    "bulk_stale": "decisions recorded in bulk may be missing; the bulk lane makes no progress",
}
"""Why a part of a list is not answered from, by stage."""


class Answer(NamedTuple):
    """`reason` is the status of the deciding decision, or one of: undeliverable, unknown, expired, future_dated,
    stale, hole, unreadable, invalid_address, unavailable. `detail` says more where the caller can mend it.

    Times are microseconds, UTC. `as_of`: every live decision that was acknowledged before this moment is considered;
    None where that is not known, which denies. `valid_until`: not to be used after it; `permits` knows. `expires_at`:
    when the deciding permission ends or ended. `list_unusable`: it denies because of the list, not of the address: the
    list is not loaded, is old, or has lost records.
    """

    permitted: bool
    reason: str
    as_of: int | None
    valid_until: int
    valid_until_elapsed: int
    """`valid_until` on the clock that runs through sleep, which no one sets. Of this machine only."""
    since: int | None = None
    decision_id: str | None = None
    detail: str | None = None
    expires_at: int | None = None
    list_unusable: bool = False

    def permits(self, *, clock: Callable[[], int] = now_micros, elapsed: Callable[[], int] = elapsed_micros) -> bool:
        """Whether contact is permitted now: never once the answer is no longer valid (R55)."""
        return self.permitted and clock() <= self.valid_until and elapsed() <= self.valid_until_elapsed


class Basis:
    """What the answer for one address rests on: how old its part of the list is."""

    def __init__(
        self, *, as_of: int | None, valid_until: int, clock: int, elapsed: int, hindrance: str | None, unknown: Policy
    ) -> None:
        self._as_of = as_of
        self._valid_until = valid_until
        self._elapsed_at_zero = elapsed - clock
        self._valid_until_elapsed = valid_until + self._elapsed_at_zero
        self.hindered = None if hindrance is None else self._hindered(hindrance)
        """The denial of every address, where its part of the list may not be answered from."""
        self.no_decision = self._undecided(permitted=unknown == "allow", reason=UNKNOWN)

    def refused(self, reason: str, detail: str, *, list_unusable: bool = False) -> Answer:
        return self._undecided(permitted=False, reason=reason, detail=detail, list_unusable=list_unusable)

    def _hindered(self, stage: str) -> Answer:
        reason = "hole" if stage == "hole" else "stale"
        return self.refused(reason, f"{stage}: {HINDRANCES[stage]}", list_unusable=True)

    def answer(self, verdict: Verdict, *, reason: str | None = None) -> Answer:
        """The verdict's, or a denial for `reason`."""
        permits, verdict_reason, since, expires_at, decision_id = verdict
        permitted = permits and reason is None
        valid_until, valid_until_elapsed = self._valid_until, self._valid_until_elapsed
        if permitted and expires_at is not None and expires_at < valid_until:
            valid_until = expires_at
            valid_until_elapsed = valid_until + self._elapsed_at_zero
        # One of ten thousand in a check: this takes half the time of `Answer(...)`.
        return tuple.__new__(
            Answer,
            (
                permitted,
                reason or verdict_reason,
                self._as_of,
                valid_until,
                valid_until_elapsed,
                since,
                decision_id,
                None,
                expires_at,
                False,
            ),
        )

    def _undecided(
        self, *, permitted: bool, reason: str, detail: str | None = None, list_unusable: bool = False
    ) -> Answer:
        return Answer(
            permitted=permitted,
            reason=reason,
            detail=detail,
            list_unusable=list_unusable,
            as_of=self._as_of,
            valid_until=self._valid_until,
            valid_until_elapsed=self._valid_until_elapsed,
        )


class Question:
    """One call: a purpose, a list, and the moment. Asked again for the next call."""

    def __init__(
        self,
        snapshot: ListSnapshot | None,
        purpose: str,
        *,
        limits: StalenessLimits,
        unknown: Policy,
        clock: int,
        elapsed: int,
    ) -> None:
        """`clock`: the own wall clock. Permissions end by the later of it and of what the list's records show."""
        self.purpose = purpose
        self.entries: Mapping[bytes, bytes] = {} if snapshot is None else snapshot.entries
        self._partitions = () if snapshot is None else snapshot.partitions
        self._limits = limits
        self._unknown = unknown
        self._elapsed = elapsed
        at_zero = None if snapshot is None else snapshot.clock_at_zero
        self.clock = clock if at_zero is None else max(clock, at_zero + elapsed)
        as_of, usable_until = (None, elapsed) if snapshot is None else (snapshot.as_of, snapshot.usable_until)
        self._of_partitions: dict[tuple[int, ...], Basis] = {}
        self._whole = self._basis(as_of, usable_until, "loading" if snapshot is None else None)
        self.loading = self._whole.hindered
        """The denial of every address while there is no list."""
        self._any_address = elapsed <= usable_until

    def basis(self, keys: Iterable[bytes]) -> Basis:
        """Of the address with these keys: the lowest of all partitions while that will do, else that of its own."""
        if self._any_address:
            return self._whole
        where = tuple(partition_of(key, len(self._partitions)) for key in keys)
        basis = self._of_partitions.get(where)
        if basis is None:
            found = [self._partitions[number] for number in where]
            hindrances = [each.hindrance(self._elapsed) for each in found]
            as_of = [each.as_of for each in found if each.as_of is not None]
            basis = self._of_partitions[where] = self._basis(
                min(as_of) if len(as_of) == len(found) else None,
                min(each.usable_until for each in found),
                next(filter(None, hindrances), None),
            )
        return basis

    def refused(self, reason: str, detail: str, *, list_unusable: bool = False) -> Answer:
        """A denial that goes by no entry."""
        return self._whole.refused(reason, detail, list_unusable=list_unusable)

    def _basis(self, as_of: int | None, usable_until: int, hindrance: str | None) -> Basis:
        valid_until = self.clock
        if as_of is not None:
            valid_until = min(as_of + self._limits.live, self.clock + VALID_MICROS)
            if hindrance is None:
                valid_until = min(valid_until, max(self.clock, self.clock + usable_until - self._elapsed))
        return Basis(
            as_of=as_of,
            valid_until=valid_until,
            clock=self.clock,
            elapsed=self._elapsed,
            hindrance=hindrance,
            unknown=self._unknown,
        )
