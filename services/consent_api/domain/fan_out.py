"""Which addresses a decision reaches. Pure.

A refusal reaches every address of its subject on the channel, those linked later included. A permission reaches the
address it names and no other; when it names none, those linked at that moment. So no person is ever called on an
address for which no permission was given, and a new address never starts without the refusals.

Where one line has two numbers, a refusal that reaches one of them reaches the other; a permission never does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consent_api.domain.addresses import Address
from consent_contracts.decisions import Decision, permits
from consent_contracts.join import precedence


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishableDecision:
    """A recorded decision with what its publication needs. ``spreads``: reaches the addresses linked later, too.
    ``traceparent``: of the submission that is being recorded; None where it is published again later."""

    decision: Decision
    spreads: bool
    source_system: str | None
    traceparent: str | None = None

    @property
    def reaches_aliases(self) -> bool:
        """Whether it reaches other addresses of the same line: all but a permission."""
        return not permits(self.decision)


class SubjectChannel:
    """One subject on one channel, while links and decisions happen to it one after the other."""

    def __init__(self, addresses: Iterable[Address] = ()) -> None:
        self._linked = {address.address_id: address for address in addresses}
        self._refusals: dict[str, PublishableDecision] = {}

    @property
    def linked(self) -> list[Address]:
        """The addresses linked now."""
        return list(self._linked.values())

    @property
    def refusals(self) -> list[PublishableDecision]:
        """What an address linked now would inherit."""
        return list(self._refusals.values())

    def is_linked(self, address_id: int) -> bool:
        """Whether the address is linked now."""
        return address_id in self._linked

    def add_refusal(self, choice: PublishableDecision) -> None:
        """A refusal that every address linked from now on inherits; of two for one purpose the newer."""
        purpose = choice.decision.purpose
        current = self._refusals.get(purpose)
        if current is None or precedence(current.decision) < precedence(choice.decision):
            self._refusals[purpose] = choice

    def link(self, address: Address) -> list[PublishableDecision]:
        """Link a new address: the refusals that reach it now. Older permissions do not."""
        if address.address_id in self._linked:
            return []
        self._linked[address.address_id] = address
        return self.refusals

    def addresses_for(self, choice: PublishableDecision, named: Address | None) -> list[Address]:
        """The addresses that this decision reaches at once."""
        if choice.spreads:
            self.add_refusal(choice)
        elif named is not None:
            return [named]
        return self.linked


def spreads(subject_ref: str | None, decision: Decision) -> bool:
    """Whether a submitted decision is one that addresses linked later inherit."""
    return subject_ref is not None and not permits(decision)
