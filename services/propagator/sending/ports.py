"""What sending asks of the state: implemented by state/ over RocksDB and Kafka, and by a fake in tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import msgspec

from propagator.desired.model import PERMIT, SUPPRESS, Action, DeliveredTarget, ListEntry, Plan
from propagator.desired.receipt import Receipt

Kind = Literal["suppress", "permit", "record", "forget", "impossible"]
"""`record`: adoptions and unmapped decisions; `forget`: rows to tombstone. Neither needs a call. `impossible`:
revocations that the destination will never take: only counted, never offered."""


class PendingPush(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the pending index: a target of an address that differs. Times in micros.

    `target` is empty for `record` and `forget`, which concern the address; of an `impossible` one: no target.
    """

    address_key: str
    target: str
    kind: Kind
    live: bool
    since: int
    not_before: int = 0

    @property
    def action(self) -> Action:
        return PERMIT if self.kind == PERMIT else SUPPRESS


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """Both states of one address at one destination, read now, and their difference."""

    entry: ListEntry | None
    plan: Plan
    """Made with now = max(own clock, the entry's `written_at`)."""
    delivered: Mapping[str, DeliveredTarget]
    newest_append: int
    """The newest append time that was read from Kafka: bounds the version of a call."""
    fill_began_at: int


class DestinationState(Protocol):
    """One destination's state. Every method is called on the event loop and does not block it for long."""

    def current(self, address_key: str) -> Current:
        """Desired and delivered state as they are now, rows that are not read back yet included.

        Raises RegistryUnavailableError or UnreadableError for an entry that cannot be decoded.
        """

    def together(self, address_keys: Sequence[str]) -> AbstractContextManager[None]:
        """Within the block, which waits for nothing, `current` and `record` of these addresses cost less."""

    def pending(
        self, *, live: bool, kind: Kind, limit: int, due_by: int, skip_targets: Collection[str] = ()
    ) -> Sequence[PendingPush]:
        """The oldest rows (by `since`) of the pending index of one class and kind whose `not_before` <= `due_by`.
        Where more than `limit` waited for such a time, those take part whose time came first.

        Left out: targets in `skip_targets`; addresses with a recorded change that is not read back yet (they are
        offered again then, if they still differ); permissions of addresses with a `permission_hindrance`. Fewer than
        `limit` rows: there are no others.
        """

    def record(
        self, address_key: str, row: DeliveredTarget | None, *, target: str, receipts: Sequence[Receipt] = ()
    ) -> None:
        """The target's new row (None: dropped) and its receipts.

        Visible to `current` at once, committed within 250 ms.
        """

    async def record_now(self, address_key: str, row: DeliveredTarget, *, target: str) -> None:
        """As `record`; returns once it is committed. Raises SenderFencedError when another process is active, and
        SendNotAllowedError when the row cannot be committed."""

    def record_receipts(self, address_key: str, receipts: Sequence[Receipt]) -> None:
        """Receipts of something that changes no row (`queued`): committed within 250 ms."""

    def forget(self, address_key: str) -> None:
        """Tombstone the rows of an address that was erased."""

    def permission_hindrance(self, address_key: str) -> str | None:
        """Why no permission may be sent for this address now (a hole, an old or restoring partition, a row
        that cannot be committed); None: it may."""

    def may_send(self) -> bool:
        """Whether this process surely is the active sender, confirmed by the broker within the session time-out."""

    def counts(self) -> Mapping[tuple[bool, Kind], int]:
        """Rows of the pending index by (live, kind), those that back off included; `impossible` ones are bulk. Cheap:
        read once a second."""

    def oldest_pending(self, *, live: bool) -> int | None:
        """`since` of the oldest pending suppression of the class, in micros; None: none is pending."""

    def delivered_until(self) -> int | None:
        """Micros: every live decision recorded until then is delivered. None: not known (restoring, or a hole)."""
