"""One term as the active sender: what is recorded in it, and what is not read back yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from consent_kafka.transport.api import Ownership
from propagator.errors import SenderFencedError
from propagator.sending.ports import PendingPush
from propagator.state.committer import Committer, OutgoingRecord
from propagator.state.overlay import Overlay, UndurableRow
from propagator.timing import TOO_LARGE_SECONDS


class SenderSession:
    """Shared by all destinations. Between two terms nothing can be recorded."""

    def __init__(self) -> None:
        self.overlay = Overlay()
        self._too_large: dict[tuple[str, str], UndurableRow] = {}
        self._committer: Committer | None = None
        self._ownership: Ownership | None = None

    def begin(self, committer: Committer, ownership: Ownership) -> None:
        """This process is the active sender, and the tables hold what its predecessors delivered."""
        # Whatever an earlier term has left behind is not in the topic.
        self.overlay.clear()
        self._committer, self._ownership = committer, ownership

    def end(self) -> None:
        """Rows that were not committed are dropped; those that were are in the topic."""
        self._committer = self._ownership = None
        self.overlay.clear()

    def may_send(self) -> bool:
        """Whether no other process can be the active sender."""
        return self._ownership is not None and self._ownership.is_confirmed()

    def put(self, row: UndurableRow, record: OutgoingRecord, receipts: Sequence[OutgoingRecord]) -> None:
        """Visible at once, committed within 250 ms. Raises SenderFencedError."""
        self._required().put(row, record, receipts)
        self.overlay.put(row)

    def put_receipts(self, receipts: Sequence[OutgoingRecord]) -> None:
        """Committed within 250 ms. Raises SenderFencedError."""
        self._required().put_others(receipts)

    def row_refused(self, row: UndurableRow) -> None:
        """The row is too large for its topic: what was delivered is known to this process alone, in this term. The
        address rests for a while, also in another term; then it is delivered again."""
        self._too_large[row.destination, row.address_key] = row
        asyncio.get_running_loop().call_later(TOO_LARGE_SECONDS, self._release, row)

    def is_too_large(self, destination: str, address_key: str) -> bool:
        """Whether the address's row was refused for its size a short time ago."""
        return (destination, address_key) in self._too_large

    def rests(self, destination: str, push: PendingPush) -> bool:
        """Whether the target took such a push although no row says so, as its row was refused for its size."""
        refused = self._too_large.get((destination, push.address_key))
        row = None if refused is None else refused.rows.get(push.target)
        return row is not None and row.action == push.kind and row.retry is None

    async def commit(self) -> None:
        """Returns once all that was put is committed. Raises SenderFencedError."""
        await self._required().commit()

    def _release(self, row: UndurableRow) -> None:
        if self._too_large.get((row.destination, row.address_key)) is row:
            del self._too_large[row.destination, row.address_key]
        self.overlay.remove(row)

    def _required(self) -> Committer:
        if self._committer is None:
            raise SenderFencedError("this process is not the active sender")
        return self._committer
