"""Which addresses are a subject's: linked, unlinked (a number that moved on), listed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from consent_api.domain.addresses import Address, Named
from consent_api.domain.fan_out import PublishableDecision, SubjectChannel
from consent_api.errors import SubmissionInvalidError
from consent_api.ledger import addresses, erased, subjects, writes
from consent_api.ledger.addresses import live_key_ids
from consent_api.ledger.lanes import Lane
from consent_api.ledger.pending_writes import PendingWrites
from consent_api.ledger.recording import LedgerContext, links_exceeded
from consent_contracts.decisions import GIVEN, Decision
from consent_contracts.join import precedence


@dataclass(frozen=True, kw_only=True, slots=True)
class Linked:
    """An address of a subject, under the primary hash key."""

    channel: str
    address_key: str
    linked_at: int


_UNLINK = text("""
UPDATE subject_addresses SET unlinked_at = :now
WHERE subject_id = :subject_id AND address_id = ANY(CAST(:address_ids AS bigint[])) AND unlinked_at IS NULL
""")
_CHOICES = text("""
SELECT r.address_id, d.decision_id::text AS decision_id, d.purpose, d.status, d.effective_at, d.recorded_at,
       d.expires_at, d.channel
FROM decision_addresses r JOIN decisions d USING (decision_id)
WHERE r.address_id = ANY(CAST(:address_ids AS bigint[])) AND d.subject_id = :subject_id
""")
_LISTED = text("""
SELECT l.address_id, l.linked_at, k.channel, k.address_key
FROM subject_addresses l JOIN address_keys k USING (address_id)
WHERE l.subject_id = :subject_id AND l.unlinked_at IS NULL
ORDER BY l.linked_at, l.address_id
""")


def link(
    connection: Connection, context: LedgerContext, *, tenant: str, subject_ref: str, named: Sequence[Named], now: int
) -> list[Linked]:
    """Link addresses, which inherit the subject's current refusals before their first use; then all that are linked.

    The subject is created when new: a tenant may name a person before the first decision. Writes the live outbox,
    whose time limits the caller has set; so does `unlink`. SubmissionInvalidError when it would have too many, and for
    those who have been erased: nothing of it is stored.
    """
    _refuse_erased(connection, context, tenant, subject_ref, named)
    locked = subjects.lock(connection, [(tenant, subject_ref)], now=now)
    subject_id = locked.ids[tenant, subject_ref]
    found = addresses.resolve(connection, context.keyring, dict.fromkeys(named), now=now)
    before = addresses.linked(connection, context.keyring, locked.existing, now=now).get(subject_id, [])
    new = {each.address_id for each in found.values()} - {each.address_id for each in before}
    if new and len(before) + len(new) > context.most_addresses:
        raise SubmissionInvalidError([links_exceeded("/addresses", context)])
    channels = {
        channel: SubjectChannel(each for each in before if each.channel == channel)
        for channel in {c for _, c, _ in named}
    }
    for _, channel, refusal in writes.inherited_refusals(connection, locked.existing):
        if channel in channels:
            channels[channel].add_refusal(refusal)
    pending = PendingWrites(context.outbox, Lane.LIVE)
    for each in named:
        pending.link(subject_id, channels[each[1]], found[each])
    pending.widen(connection, context.keyring, now=now)
    pending.write(connection, now=now)
    return _listed(connection, context, tenant, subject_id)


def _refuse_erased(
    connection: Connection, context: LedgerContext, tenant: str, subject_ref: str, named: Sequence[Named]
) -> None:
    persons = {"/subject_ref": (tenant, subject_ref), **{f"/addresses/{at}": each for at, each in enumerate(named)}}
    found = erased.find(connection, context.keyring, persons.values())
    faults = [erased.why_not_linked(found, person, pointer) for pointer, person in persons.items()]
    if refused := [each for each in faults if each is not None]:
        raise SubmissionInvalidError(refused)


def unlink(
    connection: Connection,
    context: LedgerContext,
    *,
    tenant: str,
    subject_ref: str,
    named: Sequence[Named],
    by: str,
    now: int,
) -> list[Linked] | None:
    """Unlink addresses that are no longer the subject's; then those that remain. None when there is no such subject.

    What the subject permitted there ends: each current permission is followed by an ``invalidated`` decision.
    What the subject refused there stays. ``by`` goes into the evidence. A number that moved on did so in all its forms.
    """
    if subjects.find(connection, tenant, subject_ref) is None:
        return None
    subject_id = subjects.lock(connection, [(tenant, subject_ref)], now=now).ids[tenant, subject_ref]
    # By key, not by number: an address whose hash key was retired too early is stored here under several numbers.
    names = [name for each in named for name in (each, *addresses.names_of_aliases(each))]
    wanted = {key for name in names for key in context.keyring.live_address_keys(*name)}
    linked = addresses.linked(connection, context.keyring, [subject_id], now=now).get(subject_id, [])
    leaving = {each.address_id: each for each in linked if not wanted.isdisjoint(each.sealed)}
    if leaving:
        connection.execute(_UNLINK, {"subject_id": subject_id, "address_ids": list(leaving), "now": now})
        _invalidate(connection, context, tenant, subject_id, subject_ref, leaving, by=by, now=now)
    return _listed(connection, context, tenant, subject_id)


def list_links(connection: Connection, context: LedgerContext, *, tenant: str, subject_ref: str) -> list[Linked] | None:
    """The addresses linked now, the oldest link first. None when there is no such subject."""
    subject_id = subjects.find(connection, tenant, subject_ref)
    return None if subject_id is None else _listed(connection, context, tenant, subject_id)


def _invalidate(
    connection: Connection,
    context: LedgerContext,
    tenant: str,
    subject_id: int,
    subject_ref: str,
    leaving: dict[int, Address],
    *,
    by: str,
    now: int,
) -> None:
    rows: list[writes.NewDecision] = []
    pending = PendingWrites(context.outbox, Lane.LIVE)
    for (address_id, purpose), current in _current_permissions(connection, subject_id, subject_ref, leaving):
        # The database's clock may have been set back since the permission was recorded.
        moment = max(now, current.effective_at)
        decision = Decision(
            decision_id=str(context.ids.next(moment)),
            subject_ref=subject_ref,
            purpose=purpose,
            status="invalidated",
            effective_at=moment,
            recorded_at=moment,
        )
        # It ends what was permitted at this one address; the subject's other addresses keep their permissions.
        choice = PublishableDecision(decision=decision, spreads=False, source_system="consent-relay")
        rows.append(
            writes.NewDecision(
                tenant=tenant,
                channel=leaving[address_id].channel,
                event=None,
                subject_id=subject_id,
                address_id=address_id,
                choice=choice,
                occurred_at=None,
                evidence={"capture_method": "address-unlinked", "source_system": "consent-relay", "actor": by},
            )
        )
        pending.publish(choice, leaving[address_id])
    pending.widen(connection, context.keyring, now=now)
    pending.write(connection, rows, now=now)


def _current_permissions(
    connection: Connection, subject_id: int, subject_ref: str, leaving: Collection[int]
) -> list[tuple[tuple[int, str], Decision]]:
    """Each permission that no later decision of the subject has replaced, by (address_id, purpose)."""
    rows = connection.execute(_CHOICES, {"address_ids": list(leaving), "subject_id": subject_id})
    current: dict[tuple[int, str], Decision] = {}
    for row in rows:
        decision = Decision(
            decision_id=row.decision_id,
            subject_ref=subject_ref,
            purpose=row.purpose,
            status=row.status,
            effective_at=row.effective_at,
            recorded_at=row.recorded_at,
            expires_at=row.expires_at,
        )
        slot = (row.address_id, row.purpose)
        if slot not in current or precedence(current[slot]) < precedence(decision):
            current[slot] = decision
    return sorted((slot, decision) for slot, decision in current.items() if decision.status == GIVEN)


def _listed(connection: Connection, context: LedgerContext, tenant: str, subject_id: int) -> list[Linked]:
    primary = live_key_ids(context.keyring, tenant)[0] + "."
    found: dict[int, Linked] = {}
    for row in connection.execute(_LISTED, {"subject_id": subject_id}):
        # An address that nothing has touched since a rotation is still shown, under the key that it has.
        if row.address_id not in found or row.address_key.startswith(primary):
            found[row.address_id] = Linked(channel=row.channel, address_key=row.address_key, linked_at=row.linked_at)
    return list(found.values())
