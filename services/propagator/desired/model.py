"""The values that `plan` works on. Times are microseconds since the epoch, UTC.

A push makes some thirty of these and the like: a struct is made in a fifth of the time of a dataclass. What must not
show each of its fields remains one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import msgspec

from consent_contracts.decisions import EVERY_PURPOSE, Decision
from consent_contracts.verdict import Verdict

Action = Literal["suppress", "permit"]
SUPPRESS: Action = "suppress"
PERMIT: Action = "permit"

RULE_VERSION = 1
"""Of the rule by which states are planned. Raise it when the same inputs lead to another plan: every propagator then
plans all addresses again at its next start."""

UNMAPPED = ""
"""The pseudo target under which a row keeps the decisions for which the destination has no target."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Purposes:
    """The purpose mapping. `same`: every purpose is a target of its own name, `*` too.

    Compared by identity, so that what follows from it and an entry can be kept with the entry.
    """

    targets: Mapping[str, tuple[str, ...]]
    """Purpose to targets; an empty tuple: the tool never sends for it."""
    same: bool = False

    @cached_property
    def by_target(self) -> Mapping[str, tuple[str, ...]]:
        """Every target that the mapping names, in order, and the purposes that it serves, sorted."""
        found: dict[str, set[str]] = {}
        for purpose, targets in self.targets.items():
            for target in targets:
                found.setdefault(target, set()).add(purpose)
        # A refusal of everything reaches the purposes of the target through their own verdicts, and a permission
        # that was given since lifts it for its purpose alone: beside a named purpose, `*` adds nothing.
        named = ((target, served - {EVERY_PURPOSE} or served) for target, served in sorted(found.items()))
        return {target: tuple(sorted(served)) for target, served in named}

    @property
    def names(self) -> Collection[str]:
        """Every target that the mapping names; empty with `same`."""
        return self.by_target.keys()


@dataclass(frozen=True, kw_only=True, slots=True)
class DestinationRules:
    """Everything that `plan` depends on beside the two states: one destination, as declared, and its tenant's keys."""

    destination: str
    tenant: str
    channel: str
    purposes: Purposes
    push_permissions: bool
    address_required: bool
    """True: the connector sends the address, so that only the entry under the tenant's oldest live hash key counts.
    False: the receiver knows addresses by key alone, and each live key is one."""
    live_keys: tuple[str, ...]
    """Ids of the tenant's live hash keys, the oldest first; empty when the keyring contradicts itself."""

    def fingerprint(self, *, generation: int, options: Mapping[str, object]) -> str:
        """Of all that the pending index depends on; another one means that every address is planned again."""
        content = [
            RULE_VERSION,
            self.tenant,
            self.channel,
            sorted((purpose, sorted(targets)) for purpose, targets in self.purposes.targets.items()),
            self.purposes.same,
            self.push_permissions,
            self.address_required,
            list(self.live_keys),
            generation,
            sorted((name, repr(value)) for name, value in options.items()),
        ]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ListEntry:
    """One SuppressionEntry, as read from a list topic, of whichever tenant. Compared by identity."""

    tenant: str
    channel: str
    address_key: str
    sealed_address: bytes | None = field(repr=False)
    decisions: tuple[Decision, ...]
    verdicts: Mapping[str, Verdict]
    written_at: int
    erased_at: int | None = None
    traceparent: str | None = None
    """Of the newest decision in the change that brought it; None where it was restored or belongs to no request."""
    desired_states: dict[tuple[object, ...], DesiredState] = field(default_factory=dict, repr=False)
    """What follows from it, as long as it lives: each state is asked for when the entry is read, sent, and read
    back. See `desired_state`."""


class OwnEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the destination's own tenant and channel: the only kind that is ever planned or sent.

    Made by `own_entry` alone: one tenant's decisions never reach another tenant's destination.
    """

    destination: str
    entry: ListEntry


def own_entry(rules: DestinationRules, entry: ListEntry | None) -> OwnEntry | None:
    """The entry, if the destination may know of it."""
    if entry is None or (entry.tenant, entry.channel) != (rules.tenant, rules.channel):
        return None
    return OwnEntry(destination=rules.destination, entry=entry)


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """The state that one target is to have, and the decisions behind it."""

    target: str
    action: Action
    purposes: tuple[str, ...]
    """Our purposes that the target serves, sorted; `*` is every purpose."""
    reason: str
    """The reason code of the deciding verdict, or `unmapped` for a target that left the mapping."""
    decision_ids: tuple[str, ...]
    """The deciding ones first, then every other that agrees about these purposes."""
    occurred_at: int
    recorded_at: int
    expires_at: int | None = None


class DesiredState(msgspec.Struct, frozen=True, kw_only=True):
    """What one destination is to hold for one address."""

    targets: tuple[TargetState, ...] = ()
    unmapped_decisions: tuple[str, ...] = ()
    """Decisions that refuse a purpose for which the destination has no target: they cannot be delivered."""
    unmapped_recorded_at: int = 0


class RetryState(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts at a change that failed for this address alone; it is over when action or decisions are others."""

    action: Action
    decision_ids: tuple[str, ...]
    attempts: int
    reason: str
    retry_at: int


class DeliveredTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What one target last took for one address (Kubernetes: last-applied). Field by field as in PropagationState."""

    target: str
    action: Action | None = None
    decision_ids: tuple[str, ...] = ()
    """One digest where they are too many for a row: compared by `decision_ids.matches` alone."""
    version: int = 0
    in_doubt: bool = False
    repeat_at: int | None = None
    """Until then an earlier call of a permission may take effect; a suppression that is in doubt is repeated then."""
    refused: str | None = None
    provider_reference: str | None = None
    delivered_at: int | None = None
    fill_began_at: int = 0
    retry: RetryState | None = None


SEAL_FAULTS = frozenset({"no_address", "unsealable"})
"""Why a push could not be made although the destination would take it: the entry has no address that opens here."""


def seal_fault(code: str, sealed_address: bytes | None) -> str:
    """`code` as a row keeps it: with the seal that it is about, as another one may open. Other codes as they are."""
    if code not in SEAL_FAULTS or not sealed_address:
        return code
    return f"{code}:{hashlib.blake2b(sealed_address, digest_size=8).hexdigest()}"


def is_of_another_seal(fault: str | None, sealed_address: bytes | None) -> bool:
    """Whether a row's fault was about another seal than the entry has now."""
    if fault is None:
        return False
    code = fault.partition(":")[0]
    return code in SEAL_FAULTS and fault != seal_fault(code, sealed_address)


Delivered = Mapping[str, DeliveredTarget]
"""One address at one destination, by target. Empty: nothing is known."""


class PlannedPush(msgspec.Struct, frozen=True, kw_only=True):
    """One target that differs: the state to deliver, and when."""

    state: TargetState
    live: bool
    """An undelivered decision was made live after the destination's last fill began; else it is bulk."""
    since: int
    """When the oldest undelivered decision was recorded: by it pushes are ordered and their age is reported."""
    not_before: int = 0
    """0: at once. Else when the backoff of the address ends, or an earlier call can no longer take effect."""
    attempts: int = 0
    """Attempts at this very state that failed for this address alone."""
    leaving: bool = False
    """The target left the mapping: it is suppressed, then its row is dropped."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The difference between desired and delivered state of one address at one destination."""

    pushes: tuple[PlannedPush, ...] = ()
    adoptions: tuple[TargetState, ...] = ()
    """Targets that are suppressed already, for other decisions: the row takes the new ids, and a receipt reports it."""
    unmapped: DesiredState | None = None
    """Decisions that cannot be delivered and have no receipt yet."""
    forget: bool = False
    """The address was erased, or its hash key retired: its rows are tombstoned without a call."""
    impossible: tuple[str, ...] = ()
    """Targets whose current suppression ended as impossible; UNMAPPED for decisions without a target. No work."""

    @property
    def empty(self) -> bool:
        return not (self.pushes or self.adoptions or self.unmapped or self.forget)


NOTHING = Plan()
