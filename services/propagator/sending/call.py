"""One call to the provider: the guard that is asked in the write of its requests, and the pushes that it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from propagator.connectors.base import PERMIT, Action, CallBudget, Connector, Outcome, Push
from propagator.errors import ConnectorContractError, SendNotAllowedError
from propagator.sending.delivery import Delivery, DeliveryPolicy
from propagator.sending.queued_push import QueuedPush
from propagator.timing import PERMISSION_COMMIT_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class CallItem:
    """One push of a call, with all that it needs."""

    queued: QueuedPush
    delivery: Delivery
    push: Push = field(repr=False)


@dataclass(kw_only=True, slots=True)
class Call:
    """A batch on its way. `started_at`: of the loop's clock."""

    items: Sequence[CallItem]
    """The live ones first: their outcomes are recorded before those of the bulk pushes that fill the call up."""
    started_at: float
    written: bool = False
    """A request of it was written (the guard is asked in the write): without an answer its effect is not known."""
    ended: int = 0
    """Of the items, from the first: those whose outcome was dealt with."""

    @property
    def live(self) -> bool:
        """Whether it carries a live push, so that its requests go before those of bulk."""
        return any(item.queued.live for item in self.items)

    @property
    def mixes_classes(self) -> bool:
        return len({item.queued.live for item in self.items}) > 1

    @property
    def action(self) -> Action:
        return self.items[0].push.action

    async def execute(self, connector: Connector, policy: DeliveryPolicy, budget: CallBudget) -> Sequence[Outcome]:
        """One outcome for each item, in order. Raises what the connector raises, and SenderFencedError."""
        if self.action == PERMIT:
            try:
                async with asyncio.timeout(PERMISSION_COMMIT_SECONDS):
                    await asyncio.gather(*(policy.begin_permission(item.delivery) for item in self.items))
            except TimeoutError:
                # Kafka does not take the rows now. Nothing was sent; a suppression of the target must not wait for it.
                raise SendNotAllowedError from None

        def guard() -> bool:
            permitted = policy.may_send() and (
                self.action != PERMIT or all(policy.still_permits(item.delivery) for item in self.items)
            )
            self.written = self.written or permitted
            return permitted

        outcomes = await connector.push([item.push for item in self.items], guard=guard, budget=budget)
        if len(outcomes) != len(self.items):
            raise ConnectorContractError(f"{len(outcomes)} outcomes for {len(self.items)} pushes")
        return outcomes
