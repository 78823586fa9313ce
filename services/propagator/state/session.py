"""One term as the active sender: what is recorded in it, and what is not read back yet."""

from __future__ import annotations

from collections.abc import Sequence

from consent_runtime.transport.contract import Ownership
from propagator.errors import SenderFencedError

from .committer import Committer, OutgoingRecord
from .overlay import Overlay, UndurableRow


class SenderSession:
    """Shared by all destinations. Between two terms nothing can be recorded."""

    def __init__(self) -> None:
        self.overlay = Overlay()
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
        return self._ownership is not None and self._ownership.fresh()

    def put(self, row: UndurableRow, record: OutgoingRecord, receipts: Sequence[OutgoingRecord]) -> None:
        """Visible at once, committed within 250 ms. Raises SenderFencedError."""
        self._required().put(row, record, receipts)
        self.overlay.put(row)

    def put_receipts(self, receipts: Sequence[OutgoingRecord]) -> None:
        """Committed within 250 ms. Raises SenderFencedError."""
        self._required().put_others(receipts)

    async def commit(self) -> None:
        """Returns once all that was put is committed. Raises SenderFencedError."""
        await self._required().commit()

    def _required(self) -> Committer:
        if self._committer is None:
            raise SenderFencedError("this process is not the active sender")
        return self._committer
