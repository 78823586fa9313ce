"""Recording decisions: the ledger's rows and the messages that follow from them, in one transaction.

The way of a batch: known events are set aside; the subjects of the others are locked, which is what makes a link and
a decision see one another; addresses are found or created; then each decision in its order reaches its addresses, in
memory; then all is written at once. However large the batch, the number of statements is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from consent_api.errors import SubmissionInvalidError
from consent_api.validate import Accepted
from consent_contracts.decisions import GIVEN, Decision
from consent_runtime.keyring import Keyring

from . import addresses, deduplication, live_repeats, subjects, writes
from .addresses import Address, Named
from .deduplication import Recorded
from .fan_out import Choice, SubjectChannel, spreads
from .ids import DecisionIds
from .lanes import Lane
from .outbox_messages import ChangeMessages
from .pending_writes import PendingWrites

Outcome = Recorded | SubmissionInvalidError


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerContext:
    """What writing into the ledger needs."""

    keyring: Keyring
    outbox: ChangeMessages
    ids: DecisionIds


def record(
    connection: Connection, context: LedgerContext, accepted: Sequence[Accepted], *, lane: Lane
) -> list[Outcome]:
    """Record decisions in their order, within the caller's transaction; one outcome each, in the same order.

    All their messages go by `lane`, whose time limits the caller has set; each decision keeps its own mark. A live
    repetition of a bulk decision makes that decision live, and publishes it again.

    Nothing is recorded before that transaction has committed. UnknownTenant when the keyring does not know a tenant;
    contention surfaces as the database's error, for `transact` to run it again.
    """
    if not accepted:
        return []
    now = max(each.recorded_at for each in accepted)
    known = deduplication.find(connection, context.keyring, accepted)
    firsts: dict[tuple[str, str], int] = {}
    fresh: list[int] = []
    for position, each in enumerate(accepted):
        if each.event_id is not None:
            event = (each.tenant, each.event_id)
            if event in known or event in firsts:
                continue
            firsts[event] = position
        fresh.append(position)
    repeated = _made_live(known, accepted, context.keyring)
    batch = _Batch(connection, context, [accepted[position] for position in fresh], lane=lane, now=now)
    recorded = dict(zip(fresh, batch.write(repeated), strict=True))
    outcomes: list[Outcome] = []
    for position, each in enumerate(accepted):
        found = recorded.get(position)
        if found is not None:
            outcomes.append(found)
            continue
        event = (each.tenant, str(each.event_id))
        if event not in known:
            known[event] = _known(recorded[firsts[event]], accepted[firsts[event]], context.keyring)
        outcomes.append(deduplication.match_duplicate(known[event], each, context.keyring))
    return outcomes


class _Batch:
    """Decisions whose events are new, on their way into the tables."""

    def __init__(
        self, connection: Connection, context: LedgerContext, accepted: Sequence[Accepted], *, lane: Lane, now: int
    ) -> None:
        self._connection = connection
        self._context = context
        self._accepted = accepted
        self._now = now
        self._pending = PendingWrites(context.outbox, lane)

    def write(self, made_live: Mapping[str, Accepted]) -> list[Recorded]:
        """`made_live`: by decision id, the repetitions that make a decision live; their subjects are locked too."""
        named = dict.fromkeys(name for each in self._accepted for name in _names(each))
        refs = {
            (each.tenant, each.subject_ref)
            for each in (*self._accepted, *made_live.values())
            if each.subject_ref is not None
        }
        locked = subjects.lock(self._connection, refs, now=self._now)
        found = addresses.resolve(self._connection, self._context.keyring, named, now=self._now)
        channels = self._channels(locked, found)
        rows: list[writes.NewDecision] = []
        reached: list[list[Address]] = []
        for each in self._accepted:
            name = _name(each)
            address = found[name] if name is not None else None
            subject_id = locked.ids[each.tenant, each.subject_ref] if each.subject_ref is not None else None
            choice = self._choice(each)
            channel = channels[subject_id, each.channel] if subject_id is not None else SubjectChannel()
            if subject_id is not None and address is not None:
                self._pending.link(subject_id, channel, address)
            reached.append(channel.addresses_for(choice, address))
            for target in reached[-1]:
                self._pending.publish(choice, target)
            rows.append(
                writes.NewDecision(
                    tenant=each.tenant,
                    channel=each.channel,
                    event_id=each.event_id,
                    subject_id=subject_id,
                    address_id=address.address_id if address is not None else None,
                    choice=choice,
                    evidence=each.evidence,
                )
            )
        aliases = self._pending.widen(self._connection, self._context.keyring, now=self._now)
        live_repeats.make_live(self._connection, self._context.keyring, self._pending, made_live.keys(), now=self._now)
        self._pending.write(self._connection, rows, now=self._now)
        return [
            Recorded(
                decision_id=row.choice.decision.decision_id,
                recorded_at=row.choice.decision.recorded_at,
                address_keys=tuple(
                    sorted({target.key for target in (*direct, *aliases.get(row.choice.decision.decision_id, ()))})
                ),
            )
            for row, direct in zip(rows, reached, strict=True)
        ]

    def _channels(
        self, locked: subjects.LockedSubjects, found: dict[Named, Address]
    ) -> dict[tuple[int, str], SubjectChannel]:
        """Each subject on each channel of the batch, as it is before the batch."""
        linked = addresses.linked(self._connection, self._context.keyring, locked.existing, now=self._now)
        channels: dict[tuple[int, str], SubjectChannel] = {}
        gaining: set[int] = set()
        for each in self._accepted:
            if each.subject_ref is None:
                continue
            subject_id = locked.ids[each.tenant, each.subject_ref]
            slot = (subject_id, each.channel)
            if slot not in channels:
                channels[slot] = SubjectChannel(a for a in linked.get(subject_id, ()) if a.channel == each.channel)
            name = _name(each)
            if name is not None and not channels[slot].is_linked(found[name].address_id):
                gaining.add(subject_id)
        for subject_id, channel, refusal in writes.inherited_refusals(self._connection, gaining - locked.created):
            if (subject_id, channel) in channels:
                channels[subject_id, channel].add_refusal(refusal)
        return channels

    def _choice(self, each: Accepted) -> Choice:
        decision = Decision(
            decision_id=str(self._context.ids.next(each.recorded_at)),
            subject_ref=each.subject_ref,
            purpose=each.purpose,
            status=each.status,
            effective_at=each.effective_at,
            recorded_at=each.recorded_at,
            expires_at=each.expires_at,
            bulk=each.bulk,
        )
        return Choice(decision=decision, spreads=spreads(each.subject_ref, decision), source_system=each.source_system)


def _made_live(
    known: Mapping[deduplication.Event, deduplication.ExistingEvent], accepted: Sequence[Accepted], keyring: Keyring
) -> dict[str, Accepted]:
    """The bulk decisions, by id, that one of the live submissions repeats."""
    found: dict[str, Accepted] = {}
    for each in accepted:
        first = known.get((each.tenant, each.event_id)) if each.event_id is not None else None
        if first is None or not first.bulk or each.bulk:
            continue
        if isinstance(deduplication.match_duplicate(first, each, keyring), Recorded):
            found[first.recorded.decision_id] = each
    return found


def _name(each: Accepted) -> Named | None:
    return (each.tenant, each.channel, each.address) if each.address is not None else None


def _names(each: Accepted) -> list[Named]:
    """The address that is named, and, so that two who refuse it by two forms at once cannot deadlock, its aliases."""
    name = _name(each)
    if name is None:
        return []
    return [name] if each.status == GIVEN else [name, *addresses.names_of_aliases(name)]


def _known(first: Recorded, accepted: Accepted, keyring: Keyring) -> deduplication.ExistingEvent:
    """The first of two with one event id, both in this batch."""
    named = (
        keyring.live_address_keys(accepted.tenant, accepted.channel, accepted.address)
        if accepted.address is not None
        else ()
    )
    return deduplication.ExistingEvent(
        recorded=Recorded(
            decision_id=first.decision_id,
            recorded_at=first.recorded_at,
            address_keys=first.address_keys,
            repeated=True,
        ),
        bulk=accepted.bulk,
        choice=(accepted.channel, accepted.purpose, accepted.status, accepted.subject_ref),
        stated_time=deduplication.stated_time(accepted.effective_at, accepted.recorded_at),
        named=frozenset(named),
    )
