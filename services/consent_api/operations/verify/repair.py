"""Repairs what differs: the ledger's decisions are published again, and a permission that it does not hold is ended.

All of it goes by the bulk lane's outbox, marked `rewrite`: the merge writes the entry even where its own state is right
already and only the topic is not. Nothing here makes anything permitted that the ledger does not permit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from uuid import UUID, uuid4, uuid5

from sqlalchemy import Connection

from consent_api.domain.addresses import Address
from consent_api.domain.fan_out import PublishableDecision
from consent_api.domain.validation.references import LONGEST_REFERENCE
from consent_api.ledger import addresses, subjects
from consent_api.ledger.lanes import Lane
from consent_api.ledger.outbox_messages import EVENT_TYPE, SOURCE, Message
from consent_api.ledger.pending_writes import PendingWrites
from consent_api.ledger.recording import LedgerContext
from consent_api.ledger.writes import NewDecision
from consent_api.operations.verify.compare import OVERFLOW_SUBJECT, DifferenceKind, ListEntry
from consent_api.operations.verify.job import Checked
from consent_contracts.cloudevents import headers
from consent_contracts.decisions import EVERY_PURPOSE, Decision, permits
from consent_contracts.join import SKEW_MICROS, precedence
from consent_contracts.records import PURPOSE
from consent_privacy.errors import KeyringError

SOURCE_SYSTEM = "consent-relay"
EVIDENCE = {
    "source_system": SOURCE_SYSTEM,
    "actor": SOURCE_SYSTEM,
    "capture_method": "verification: the list held a permission that the ledger does not",
}
_DENIAL = UUID("0198f6a4-51c2-7d3e-9a41-6a1f1d0c7b57")


class Repair(StrEnum):
    """What was sent for an address."""

    REWRITTEN = "rewritten"
    """The ledger's decisions."""
    INVALIDATED = "invalidated"
    """Those, and a decision now recorded, which ends a permission that the ledger did not hold."""
    DENIED = "denied"
    """A mark that makes older permissions void: the ledger has nothing that could take the place of the entry."""
    NONE = "none"


def repair(connection: Connection, context: LedgerContext, found: Sequence[Checked], *, now: int) -> list[Repair]:
    """Send what repairs each of these addresses, within the caller's transaction, which is one of the bulk lane.
    ``now``: the database's clock (micros).

    KeyringError when the keyring lacks what a stored address needs.
    """
    known = addresses.load(
        connection,
        context.keyring,
        {each.ledger.address_id for each in found if each.ledger is not None},
        now=now,
        unknown_as_stored=True,
    )
    repairing = _Repairing(connection, context, now)
    results = [
        repairing.one(each, known.get(each.ledger.address_id) if each.ledger is not None else None) for each in found
    ]
    repairing.write()
    return results


class _Repairing:
    """The writes of one transaction."""

    def __init__(self, connection: Connection, context: LedgerContext, now: int) -> None:
        self._connection = connection
        self._context = context
        self._now = now
        self._pending = PendingWrites(context.outbox, Lane.BULK)
        self._decisions: list[NewDecision] = []

    def write(self) -> None:
        self._pending.write(self._connection, self._decisions, now=self._now)

    def one(self, checked: Checked, address: Address | None) -> Repair:
        if not any(each.kind.is_defect for each in checked.differences):
            return Repair.NONE
        choices = _current(checked.ledger.choices if checked.ledger is not None else ())
        newest = {_slot(each.decision): precedence(each.decision) for each in choices}
        ended, denied_at = False, None
        for forged in _permissions_without_ledger(checked):
            if forged.effective_at - SKEW_MICROS > self._now:
                continue  # Dated ahead of now: what is recorded now would be the older one.
            if precedence(forged) < newest.get(_slot(forged), precedence(forged)):
                continue  # The ledger's own decision takes its place.
            address = address or self._found_by_seal(checked)
            if address is None or not _can_be_recorded(forged):
                denied_at = max(denied_at or 0, self._end_of(forged))
            else:
                self._invalidate(forged, address)
                ended = True
        if address is not None and choices:
            # Under the key whose entry differs alone; refusals first, as everywhere.
            key = checked.location.address_key
            limited = replace(address, sealed={key: address.sealed[key]} if key in address.sealed else {})
            for choice in sorted(choices, key=lambda each: permits(each.decision)):
                self._pending.rewrite(choice, limited)
        if denied_at is not None:
            return self._deny(checked, denied_at)
        if not (choices or ended or _only_refusals(checked)):
            return self._deny(checked, self._now)
        return Repair.INVALIDATED if ended else Repair.REWRITTEN if choices else Repair.NONE

    def _end_of(self, forged: Decision) -> int:
        """When a permission ends: at its own time, so that one which the person has given since stays in effect."""
        return min(forged.effective_at, self._now)

    def _invalidate(self, forged: Decision, address: Address) -> None:
        """Record the end of this permission on this address alone."""
        subject_id = None
        if forged.subject_ref is not None:
            subject = (address.tenant, forged.subject_ref)
            subject_id = subjects.lock(self._connection, [subject], now=self._now).ids[subject]
        decision = Decision(
            decision_id=str(self._context.ids.next(self._now)),
            subject_ref=forged.subject_ref,
            purpose=forged.purpose,
            status="invalidated",
            effective_at=self._end_of(forged),
            recorded_at=self._now,
        )
        choice = PublishableDecision(decision=decision, spreads=False, source_system=SOURCE_SYSTEM)
        self._decisions.append(
            NewDecision(
                tenant=address.tenant,
                channel=address.channel,
                event=None,
                subject_id=subject_id,
                address_id=address.address_id,
                choice=choice,
                occurred_at=None,
                evidence=EVIDENCE,
            )
        )
        self._pending.publish(choice, address, rewrite=True)

    def _found_by_seal(self, checked: Checked) -> Address | None:
        """The address that the entry holds sealed, recorded if it is new; None if it is not that of its key."""
        location, found, keyring = checked.location, checked.found, self._context.keyring
        if location.tenant is None or not isinstance(found, ListEntry) or found.entry.sealed_address is None:
            return None
        try:
            canonical = keyring.open(location.address_key, found.entry.sealed_address)
            if location.address_key not in keyring.live_address_keys(location.tenant, location.channel, canonical):
                return None
        except KeyringError:
            return None
        named = (location.tenant, location.channel, canonical)
        return addresses.resolve(self._connection, keyring, [named], now=self._now)[named]

    def _deny(self, checked: Checked, moment: int) -> Repair:
        """Make void what was permitted there before."""
        location = checked.location
        if location.tenant is None:
            return Repair.NONE
        decision_id = str(uuid5(_DENIAL, f"{location.address_key} {uuid4()}"))
        event_id = str(uuid5(UUID(decision_id), location.address_key))
        outbox = self._context.outbox
        topic = Lane.BULK.changes(outbox.topics)
        ce = headers(event_id=event_id, event_type=EVENT_TYPE, source=SOURCE, time_micros=self._now)
        value = outbox.codec.encode(
            topic,
            {
                "event_id": event_id,
                "tenant": location.tenant,
                "channel": location.channel,
                "address_key": location.address_key,
                "sealed_address": None,
                # Of the address itself: it overrules whatever any subject gave before.
                "subject_ref": None,
                "purpose": EVERY_PURPOSE,
                "status": "invalidated",
                "effective_at": moment,
                "recorded_at": self._now,
                "expires_at": None,
                "decision_id": decision_id,
                "source_system": SOURCE_SYSTEM,
                "bulk": False,
                "rewrite": True,
                # Without it an entry of after an erasure would not take it.
                "erased_at": checked.found.entry.erased_at if isinstance(checked.found, ListEntry) else None,
            },
        )
        self._pending.send(
            Message(
                topic=topic,
                partition=outbox.partition(location.address_key),
                key=location.address_key.encode(),
                value=value,
                headers=json.dumps([[name, data.decode()] for name, data in ce]),
            )
        )
        return Repair.DENIED


def _permissions_without_ledger(checked: Checked) -> list[Decision]:
    return [
        each.decision
        for each in checked.differences
        if each.kind is DifferenceKind.PERMISSION_WITHOUT_LEDGER and each.decision is not None
    ]


def _only_refusals(checked: Checked) -> bool:
    """Whether the entry only refuses what the ledger does not: it stays, as it permits no contact."""
    kinds = {each.kind for each in checked.differences if each.kind.is_defect}
    return kinds == {DifferenceKind.REFUSAL_WITHOUT_LEDGER}


def _can_be_recorded(decision: Decision) -> bool:
    named = decision.purpose == EVERY_PURPOSE or PURPOSE.fullmatch(decision.purpose) is not None
    ref = decision.subject_ref
    # PostgreSQL has no text with a zero character, and its index takes none that is much longer than a reference.
    return named and (
        ref is None or (0 < len(ref) <= LONGEST_REFERENCE and "\0" not in ref and ref != OVERFLOW_SUBJECT)
    )


def _current(choices: Iterable[PublishableDecision]) -> list[PublishableDecision]:
    """The newest of each subject and purpose."""
    newest: dict[tuple[str | None, str], PublishableDecision] = {}
    for choice in choices:
        slot = _slot(choice.decision)
        held = newest.get(slot)
        if held is None or precedence(held.decision) < precedence(choice.decision):
            newest[slot] = choice
    return list(newest.values())


def _slot(decision: Decision) -> tuple[str | None, str]:
    return decision.subject_ref, decision.purpose
