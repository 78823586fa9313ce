"""What follows from decisions and links: addresses linked, decisions that reach them, messages about both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection

from consent_api.domain.addresses import Address
from consent_api.domain.fan_out import PublishableDecision, SubjectChannel
from consent_api.ledger import addresses, writes
from consent_api.ledger.current import CurrentDecisions
from consent_api.ledger.lanes import Lane
from consent_api.ledger.outbox_messages import ChangeMessages, Message
from consent_api.ledger.writes import NewDecision
from consent_contracts.decisions import Decision
from consent_privacy.keyring import Keyring


class PendingWrites:
    """Collected in memory while a transaction decides, then written at once. All messages go by one lane.

    ``current`` has what is decided on the addresses, these included.
    """

    def __init__(self, outbox: ChangeMessages, lane: Lane) -> None:
        self._outbox = outbox
        self._lane = lane
        self._links: list[tuple[int, int]] = []
        self._reached: dict[tuple[int, str], tuple[PublishableDecision, Address]] = {}
        self._messages: list[Message] = []
        self.current = CurrentDecisions()

    def link(self, subject_id: int, channel: SubjectChannel, address: Address) -> None:
        """Link an address, unless it is linked, and let it inherit the subject's refusals before its first use."""
        if channel.is_linked(address.address_id):
            return
        self._links.append((subject_id, address.address_id))
        for inherited in channel.link(address):
            self.publish(inherited, address)

    def publish(self, choice: PublishableDecision, address: Address, *, rewrite: bool = False) -> None:
        """A decision reaches an address. `rewrite`: the list holds something else of this address than the ledger."""
        slot = (address.address_id, choice.decision.decision_id)
        if slot not in self._reached:
            self._reached[slot] = (choice, address)
            self.current.add(address.address_id, choice.decision)
            self._messages += self._outbox.changes(choice, address, self._lane, rewrite=rewrite)

    def widen(self, connection: Connection, keyring: Keyring, *, now: int) -> Mapping[str, list[Address]]:
        """Let every refusal so far reach the aliases of its addresses too; the aliases, by decision id.

        Costs a statement only where an address has aliases.
        """
        refusals = [(choice, address) for choice, address in self._reached.values() if choice.reaches_aliases]
        names = {address.address_id: addresses.alias_names(keyring, address) for _, address in refusals}
        wanted = dict.fromkeys(name for of_one in names.values() for name in of_one)
        found = addresses.resolve(connection, keyring, wanted, now=now)
        self.current.created(addresses=[each.address_id for each in found.values() if each.is_new], subjects=())
        widened: dict[str, list[Address]] = {}
        for choice, address in refusals:
            for name in names[address.address_id]:
                self.publish(choice, found[name])
                widened.setdefault(choice.decision.decision_id, []).append(found[name])
        return widened

    def publish_again(self, choice: PublishableDecision, address: Address) -> None:
        """A decision whose mark has changed since it reached the address."""
        self._messages += self._outbox.changes(choice, address, self._lane)

    def rewrite(self, choice: PublishableDecision, address: Address) -> None:
        """A decision that has reached the address before, and that the list lacks or holds beside something else."""
        self._messages += self._outbox.changes(choice, address, self._lane, rewrite=True)

    def erase(self, made: Sequence[PublishableDecision], address: Address, remaining: Sequence[Decision]) -> None:
        """An erasure has made these decisions on the address, and leaves `remaining` there. In one message, so that no
        reader ever finds a part of them."""
        for choice in made:
            self._reached[address.address_id, choice.decision.decision_id] = (choice, address)
        first, *others = [*(each.decision for each in made), *remaining]
        choice = made[0] if made else PublishableDecision(decision=first, spreads=False, source_system=None)
        self._messages += self._outbox.changes(choice, address, self._lane, remaining=others)

    def send(self, message: Message) -> None:
        """A message about an address that the ledger has nothing on."""
        self._messages.append(message)

    def write(self, connection: Connection, decisions: Collection[NewDecision] = (), *, now: int) -> None:
        """Into the tables, together with the decisions from which these follow."""
        writes.write(
            connection,
            decisions=decisions,
            links=self._links,
            reached=list(self._reached),
            messages=self._messages,
            lane=self._lane,
            now=now,
        )
