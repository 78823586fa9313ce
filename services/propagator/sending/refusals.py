"""Which refusals are about addresses, and which about the target or the whole destination. Pure, apart from what it
remembers of earlier calls.

A refusal ends a push for good, so it needs proof that it is about the address: the provider accepts others there. What
meets every push of two or more at a target, or one push after another, has no such proof: nothing ends, a person hears
of it, and what was refused is tried again. Suppressions and permissions are judged apart: a list that is full still
lifts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from propagator.connectors.base import SUPPRESS, Accepted, Action, Outcome, Refused, Retryable


class TargetAction(NamedTuple):
    """What a provider may refuse as a whole."""

    target: str
    action: Action


class Ruling(Enum):
    """What the refusals of one call mean."""

    ABOUT_ADDRESSES = auto()
    """Final for each address that was refused."""
    TARGET_SUSPECTED = auto()
    """Nothing ends. One other push may try the target at once."""
    TARGET_HELD = auto()
    """Nothing ends, and no push goes there until the next check of held targets."""
    DESTINATION_HELD = auto()
    """Nothing ends, and the destination is probed by single pushes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One push of a call and its outcome."""

    key: TargetAction
    outcome: Outcome
    refused_before: bool = False
    """It was in a call of which every push was refused."""

    @property
    def is_refused(self) -> bool:
        return isinstance(self.outcome, Refused) or (isinstance(self.outcome, Retryable) and self.outcome.refused)


class Refusals:
    """Those of one destination, since this process sends to it."""

    def __init__(self) -> None:
        self._unproven: set[TargetAction] = set()
        """The last refusal there was final, and nothing was accepted since: the next one is not about an address."""
        self._refusing: set[TargetAction] = set()
        """Nothing was accepted there since refusals were found not to be about addresses."""
        self.destination_held = False

    def judge(self, call: Sequence[Answered]) -> dict[TargetAction, Ruling]:
        """A ruling for each target and action of the call that was refused anything. Called once for each call."""
        accepted = {each.key for each in call if isinstance(each.outcome, Accepted)}
        self._refusing -= accepted
        self._unproven -= accepted
        if accepted:
            self.destination_held = False
        refused = Counter(each.key for each in call if each.is_refused)
        proven = accepted | {each.key for each in call if each.refused_before and each.key not in self._refusing}
        held = {
            key
            for key, count in refused.items()
            if key in self._refusing or (key not in proven and (count > 1 or key in self._unproven))
        }
        self._unproven |= refused.keys() - accepted
        if held and held == refused.keys() and refused.total() == len(call) and self._concerns_destination(held, call):
            self.destination_held = True
            self._refusing |= held
            return dict.fromkeys(held, Ruling.DESTINATION_HELD)
        rulings = dict.fromkeys(refused, Ruling.ABOUT_ADDRESSES)
        for key in held:
            rulings[key] = Ruling.TARGET_HELD if key in self._refusing else Ruling.TARGET_SUSPECTED
        self._refusing |= held
        return rulings

    def _concerns_destination(self, held: set[TargetAction], call: Sequence[Answered]) -> bool:
        """Permissions never hold up suppressions, nor does a target that is known to refuse hold up the others."""
        if any(key.action != SUPPRESS for key in held):
            return False
        return self.destination_held or (len(call) > 1 and not held & self._refusing)
