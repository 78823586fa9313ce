"""Another address in the place of one that is wrong: the refusals go with the person, the permissions do not.

In one transaction, so that the new address is never used without them. What was permitted at the wrong address ends:
it was another person's, and a corrected typing error is no consent. What was refused there stays refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from consent_api.domain.addresses import Address, Named, own_first
from consent_api.domain.fan_out import PublishableDecision
from consent_api.domain.validation import ValidationRules, named_address, subject_reference
from consent_api.errors import FieldViolation, PersonUnknownError, SubmissionInvalidError
from consent_api.ledger import addresses, links, subjects
from consent_api.ledger.lanes import Lane
from consent_api.ledger.pending_writes import PendingWrites
from consent_api.ledger.recording import LedgerContext
from consent_api.ledger.writes import NewDecision
from consent_api.links import pauses
from consent_api.rights import audit, requests
from consent_api.rights.audit import Act
from consent_contracts.decisions import DELIVERY, GIVEN, Decision, permits
from consent_contracts.join import precedence

SOURCE_SYSTEM = "consent-relay"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rectification:
    """Both addresses canonical. ``subject_ref``: None where what belongs to the old address itself goes alone.
    ``request_id``: the request of the person that it carries out."""

    tenant: str
    channel: str
    old: str = field(repr=False)
    new: str = field(repr=False)
    subject_ref: str | None = field(repr=False)
    by: str
    request_id: UUID | None = None

    def old_on(self, channel: str) -> Named:
        return self.tenant, channel, self.old

    def new_on(self, channel: str) -> Named:
        return self.tenant, channel, self.new


@dataclass(frozen=True, kw_only=True, slots=True)
class Rectified:
    """Address keys under the primary hash key, and how many refusals went with the person."""

    old_key: str
    new_key: str
    refusals: int


def read(
    tenant: str,
    rules: ValidationRules,
    *,
    channel: str,
    old: str,
    new: str,
    subject_ref: str | None,
    by: str,
    request_id: UUID | None = None,
) -> Rectification:
    """As someone asks for it. SubmissionInvalidError."""
    faults: list[FieldViolation] = []
    found: dict[str, str] = {}
    for pointer, value in (("/old_address", old), ("/new_address", new)):
        try:
            found[pointer] = named_address(channel, value, rules)
        except SubmissionInvalidError as error:
            faults += [replace(each, pointer=pointer) if each.pointer == "/address" else each for each in error.faults]
    ref = None
    if subject_ref is not None:
        try:
            ref = subject_reference(subject_ref, rules, addresses=list(found.values()))
        except SubmissionInvalidError as error:
            faults += error.faults
    if faults:
        raise SubmissionInvalidError(faults)
    return Rectification(
        tenant=tenant,
        channel=channel,
        old=found["/old_address"],
        new=found["/new_address"],
        subject_ref=ref,
        by=by,
        request_id=request_id,
    )


def rectify(connection: Connection, context: LedgerContext, asked: Rectification, *, now: int) -> Rectified:
    """In a transaction of the live lane. The same again changes nothing but the times.

    A number is corrected on each channel on which the ledger has it: who said "no calls" is not called at the new one.
    PersonUnknownError: the old address is not known, or not the subject's. SubmissionInvalidError. RequestUnknownError.
    """
    keyring = context.keyring
    if asked.old == asked.new:
        raise SubmissionInvalidError([_SAME])
    request = None
    if asked.request_id is not None:
        request = requests.to_carry_out(
            connection,
            keyring,
            tenant=asked.tenant,
            request_id=asked.request_id,
            kind=requests.Kind.RECTIFICATION,
        )
    channels = own_first(asked.channel)
    known = [old for each in channels if (old := addresses.find(connection, keyring, asked.old_on(each))) is not None]
    subject_id, linked = _subject(connection, context, asked, now=now)
    if not known or (subject_id is not None and not any(each.address_id in linked for each in known)):
        raise PersonUnknownError
    addresses.lock(connection, [each.address_id for each in known])
    done = [
        _correct(connection, context, asked, each, subject_id if each.address_id in linked else None, now=now)
        for each in known
    ]
    refusals = sum(each.refusals for each in done)
    first = replace(done[0], refusals=refusals)
    audit.add(connection, tenant=asked.tenant, who=asked.by, act=Act.RECTIFIED, object_id=first.new_key, at=now)
    if request is not None and request.state is requests.State.OPEN:
        requests.resolve(
            connection,
            keyring,
            tenant=asked.tenant,
            request_id=request.id,
            state=requests.State.DONE,
            by=asked.by,
            now=now,
            certificate={"refusals": refusals},
        )
    return first


def _correct(
    connection: Connection,
    context: LedgerContext,
    asked: Rectification,
    old: Address,
    subject_id: int | None,
    *,
    now: int,
) -> Rectified:
    """On the channel of ``old``. ``subject_id``: None where it is linked to no subject that is asked for."""
    there = _at(connection, context, old)
    ref = asked.subject_ref if subject_id is not None else None
    new_named = asked.new_on(old.channel)
    if ref is not None:
        named = [asked.old_on(old.channel)]
        links.unlink(connection, context, tenant=asked.tenant, subject_ref=ref, named=named, by=asked.by, now=now)
        _link(connection, context, asked.tenant, ref, new_named, now=now)
    new = addresses.resolve(connection, context.keyring, [new_named], now=now)[new_named]
    _carry(connection, context, asked, there, old, new, subject_id, now=now)
    return Rectified(old_key=old.key, new_key=new.key, refusals=len(_refusals(there, ref)))


def _link(
    connection: Connection, context: LedgerContext, tenant: str, subject_ref: str, new: Named, *, now: int
) -> None:
    try:
        links.link(connection, context, tenant=tenant, subject_ref=subject_ref, named=[new], now=now)
    except SubmissionInvalidError as error:
        faults = [
            replace(each, pointer="/new_address") if each.pointer.startswith("/addresses") else each
            for each in error.faults
        ]
        raise SubmissionInvalidError(faults) from None


def _subject(
    connection: Connection, context: LedgerContext, asked: Rectification, *, now: int
) -> tuple[int | None, frozenset[int]]:
    """Who is asked for, locked, and the ids of the addresses that are linked to them; None without a subject."""
    if asked.subject_ref is None:
        return None, frozenset()
    ref = asked.subject_ref
    if subjects.find(connection, asked.tenant, ref) is None:
        raise PersonUnknownError
    subject_id = subjects.lock(connection, [(asked.tenant, ref)], now=now).ids[asked.tenant, ref]
    linked = addresses.linked(connection, context.keyring, [subject_id], now=now).get(subject_id, [])
    return subject_id, frozenset(each.address_id for each in linked)


def _refusals(there: Iterable[Decision], subject_ref: str | None) -> list[Decision]:
    """The person's current refusals: their own, and those that belong to the address itself, as of a STOP."""
    return [
        each
        for each in there
        if not permits(each) and each.purpose != DELIVERY and each.subject_ref in (None, subject_ref)
    ]


def _carry(
    connection: Connection,
    context: LedgerContext,
    asked: Rectification,
    there: Sequence[Decision],
    old: Address,
    new: Address,
    subject_id: int | None,
    *,
    now: int,
) -> None:
    """The refusals to the new address, as of when they were made; where no subject is asked for, the address's own
    permissions at the old one end, those that would follow a pause, too."""
    ref = asked.subject_ref if subject_id is not None else None
    pending = PendingWrites(context.outbox, Lane.LIVE)
    rows: list[NewDecision] = []

    def record(address: Address, decision: Decision, subject: int | None, capture: str) -> None:
        choice = PublishableDecision(decision=decision, spreads=False, source_system=SOURCE_SYSTEM)
        evidence = {"capture_method": capture, "source_system": SOURCE_SYSTEM, "actor": asked.by}
        rows.append(
            NewDecision(
                tenant=asked.tenant,
                channel=old.channel,
                event=None,
                subject_id=subject,
                address_id=address.address_id,
                choice=choice,
                occurred_at=None,
                evidence=evidence,
            )
        )
        pending.publish(choice, address)

    # What the link has brought already is not recorded again.
    newest = {each.purpose: each for each in _at(connection, context, new) if each.subject_ref == ref}
    brought = set(newest.values())
    for each in _refusals(there, ref):
        if each.purpose not in newest or precedence(newest[each.purpose]) < precedence(each):
            newest[each.purpose] = each
    for each in newest.values():
        if each in brought:
            continue
        moment = max(now, each.effective_at)
        decision_id = str(context.ids.next(moment))
        carried = msgspec.structs.replace(
            each, decision_id=decision_id, subject_ref=ref, recorded_at=moment, bulk=False
        )
        record(new, carried, subject_id, "address-rectified")
    if asked.subject_ref is None:
        pauses.drop(connection, old.address_id)
        for each in there:
            if permits(each) and each.subject_ref is None:
                moment = max(now, each.effective_at)
                ended = Decision(
                    decision_id=str(context.ids.next(moment)),
                    subject_ref=None,
                    purpose=each.purpose,
                    status="invalidated",
                    effective_at=moment,
                    recorded_at=moment,
                )
                record(old, ended, None, "address-rectified")
    pending.widen(connection, context.keyring, now=now)
    pending.write(connection, rows, now=now)


def _at(connection: Connection, context: LedgerContext, address: Address) -> list[Decision]:
    """What is decided there now."""
    pending = PendingWrites(context.outbox, Lane.LIVE)
    pending.current.need(GIVEN, 0, None, [address.address_id])
    pending.current.read(connection)
    return pending.current.at(address.address_id)


_SAME = FieldViolation(
    pointer="/new_address", code="same_address", cure="send an address that differs from the old one once it is read"
)
