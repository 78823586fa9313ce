"""What follows from decisions and links: addresses linked, decisions that reach them, messages that say so."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from . import entries
from .addresses import Address
from .entries import NewDecision
from .outbox import Message, Outbox
from .reach import Choice, Reach


class Effects:
    """Collected in memory while a transaction decides, then written at once."""

    def __init__(self, messages: Outbox) -> None:
        self._outbox = messages
        self._links: list[tuple[int, int]] = []
        self._reached: dict[tuple[int, str], None] = {}
        self._messages: list[Message] = []

    def link(self, subject_id: int, reach: Reach, address: Address) -> None:
        """Link an address, unless it is linked, and let it inherit the subject's refusals before its first use."""
        if reach.holds(address.address_id):
            return
        self._links.append((subject_id, address.address_id))
        for inherited in reach.link(address):
            self.publish(inherited, address)

    def publish(self, choice: Choice, address: Address) -> None:
        """A decision reaches an address."""
        slot = (address.address_id, choice.decision.decision_id)
        if slot not in self._reached:
            self._reached[slot] = None
            self._messages += self._outbox.changes(choice, address)

    def write(self, connection: Connection, decisions: Collection[NewDecision] = (), *, now: int) -> None:
        """Into the tables, together with the decisions of which these are the effects."""
        entries.write(
            connection,
            decisions=decisions,
            links=self._links,
            reached=list(self._reached),
            messages=self._messages,
            now=now,
        )
