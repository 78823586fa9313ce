"""The steps of an erasure, each in a transaction of its own: what they do is done once, however often they are run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from consent_api.domain import effects
from consent_api.domain.addresses import Address
from consent_api.domain.fan_out import PublishableDecision
from consent_api.ledger import addresses
from consent_api.ledger.lanes import Lane
from consent_api.ledger.pending_writes import PendingWrites
from consent_api.ledger.recording import LedgerContext
from consent_api.ledger.writes import NewDecision
from consent_api.rights import audit, requests
from consent_api.rights.audit import Act
from consent_api.rights.erasure import erasures, model, retention, scope
from consent_api.rights.erasure.erasures import Erasure, NewErasure
from consent_api.rights.erasure.model import Counts, Delivery, State
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN, Decision, permits

SOURCE_SYSTEM = "consent-relay"
OBJECTED = "objected"
OBJECTIONS_AT_ONCE = 50
ADDRESSES_AT_ONCE = 10
_NOTICE = ("notice_id", "notice_version", "notice_hash", "notice_language", "capture_method")
"""What is kept of the evidence where a proof has to be: it refers to what the person was shown."""

_LOCK = text(f"""
SELECT {erasures.COLUMNS} FROM erasures e WHERE e.erasure_id = :erasure_id AND e.ended_at IS NULL
FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - constants
_WITHOUT_OBJECTION = text("""
SELECT address_id FROM erasure_addresses
WHERE erasure_id = :erasure_id AND forget AND objection IS NULL AND erased_at IS NULL
ORDER BY address_id LIMIT :most
""")
_OBJECTED = text("""
UPDATE erasure_addresses SET objection = CAST(:objection AS uuid)
WHERE erasure_id = :erasure_id AND address_id = :address_id
""")
_ERASING = text("UPDATE addresses SET erasing_at = :now WHERE address_id = ANY(CAST(:ids AS bigint[]))")
_NEXT = text("""
SELECT address_id, forget, objection FROM erasure_addresses
WHERE erasure_id = :erasure_id AND erased_at IS NULL ORDER BY address_id LIMIT :most
""")
# No tool is waited for any more.
_NO_MORE_TIME = text("UPDATE erasures SET notify_until = least(notify_until, :now) WHERE erasure_id = :erasure_id")
_LOCK_SUBJECT = text("SELECT subject_ref FROM subjects WHERE subject_id = :subject_id FOR UPDATE")
_STORED = text("""
SELECT a.tenant, a.channel, k.address_key, k.sealed_address
FROM addresses a JOIN address_keys k USING (address_id) WHERE a.address_id = :address_id ORDER BY k.address_key
""")
# An earlier erasure of it counts too: of two the later one is the whole result, by their dates.
_NEWEST = text("""
SELECT greatest(
    (SELECT max(greatest(d.recorded_at, d.effective_at))
     FROM decision_addresses r JOIN decisions d USING (decision_id) WHERE r.address_id = :address_id),
    (SELECT erased_at FROM addresses WHERE address_id = :address_id),
    0)
""")
_NEW_ADDRESS = text("""
INSERT INTO addresses (address_id, tenant, channel, created_at, erasing_at, erased_at)
VALUES (nextval('address_id_seq'), :tenant, :channel, :moment, :moment, :moment) RETURNING address_id
""")
_KEEP_PROOFS = text("""
INSERT INTO retained_proofs (erasure_id, tenant, channel, address_key, purpose, effective_at, recorded_at, expires_at,
                             notice, ground, keep_until)
SELECT :erasure_id, d.tenant, d.channel, :address_key, d.purpose, d.effective_at, d.recorded_at, d.expires_at,
       (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') FROM jsonb_each(d.evidence) e
        WHERE e.key = ANY(CAST(:notice AS text[]))), :ground, d.effective_at + :kept
FROM decision_addresses r JOIN decisions d USING (decision_id)
WHERE r.address_id = :address_id AND d.status = 'given' AND (:forget OR d.subject_id = :subject_id)
  AND d.effective_at + :kept > :now
""")
_ERASE_ADDRESS = text("SELECT erase_address(:address_id, :new_id, :subject_id, :forget, :moment)")
# What has not been published yet holds the address, and the erasure's own message says more.
_UNPUBLISHED = [
    text(f"""
    DELETE FROM {table} WHERE partition = ANY(CAST(:partitions AS integer[])) AND key = ANY(CAST(:keys AS bytea[]))
    """)  # noqa: S608 - constants
    for table in ("outbox", "outbox_bulk")
]
_ERASED = text("""
UPDATE erasure_addresses SET forget = :forget, erased_at = :moment, outcome = :outcome
WHERE erasure_id = :erasure_id AND address_id = :new_id
""").bindparams(bindparam("outcome", type_=JSONB))
_PERSONS_ERASED = text("""
UPDATE erased_persons SET erased_at = :moment WHERE tenant = :tenant AND person_key = ANY(CAST(:keys AS text[]))
""")
_ALL_PERSONS_ERASED = text(
    "UPDATE erased_persons SET erased_at = :moment WHERE erasure_id = :erasure_id AND erased_at IS NULL"
)
_ERASE_SUBJECT = text("SELECT erase_subject(:subject_id, :moment)")
_OUTCOMES = text("SELECT address_id, forget, outcome FROM erasure_addresses WHERE erasure_id = :erasure_id")
_FINISHED = text("""
UPDATE erasures SET erased_at = :moment, subject_id = NULL, certificate = :certificate
WHERE erasure_id = :erasure_id
""").bindparams(bindparam("certificate", type_=JSONB))
_KEYS_OF = text("""
SELECT k.address_key FROM erasure_addresses e JOIN address_keys k USING (address_id) WHERE e.erasure_id = :erasure_id
""")
_IS_UNPUBLISHED = text("""
SELECT EXISTS (SELECT FROM outbox
               WHERE partition = ANY(CAST(:partitions AS integer[])) AND key = ANY(CAST(:keys AS bytea[])))
""")
_PUBLISHED = text("""
UPDATE addresses SET erasing_at = NULL
WHERE address_id IN (SELECT address_id FROM erasure_addresses WHERE erasure_id = :erasure_id)
""")
_DONE_WITH = text("DELETE FROM erasure_addresses WHERE erasure_id = :erasure_id")
_END = text("UPDATE erasures SET ended_at = :now WHERE erasure_id = :erasure_id")


def begin(connection: Connection, context: LedgerContext, new: NewErasure, *, now: int) -> Erasure:
    """Begin to erase a person, and refuse everything at once, not at the eraser's next turn.

    As `erasures.begin`; of more than OBJECTIONS_AT_ONCE addresses the rest is refused by the eraser.
    """
    begun = erasures.begin(connection, context, new, now=now)
    if begun.state is not State.OBJECTING:
        return begun
    erasure_id = UUID(begun.erasure_id)
    step(connection, context, erasure_id, now, settle=model.SETTLE_MICROS)
    return erasures.find(connection, tenant=begun.tenant, erasure_id=erasure_id)


def step(connection: Connection, context: LedgerContext, erasure_id: UUID, now: int, *, settle: int) -> State | None:
    """One step of an erasure, in a transaction with the time limits of the bulk lane; the state in which it was done.
    None where the erasure has ended, or another process has it in hand. What it publishes is live.
    """
    row = connection.execute(_LOCK, {"erasure_id": erasure_id}).one_or_none()
    if row is None:
        return None
    state = model.next_state(erasures.progress(connection, row, now=now), now=now, settle=settle)
    if state is State.OBJECTING:
        _object(connection, context, row, now)
    elif state is State.ERASING:
        _erase(connection, context, row, now)
    elif state is State.PUBLISHING and not _end(connection, context, row, now):
        return State.NOTIFYING  # Nothing to be done but wait.
    return state


def _object(connection: Connection, context: LedgerContext, row: Row[Any], now: int) -> None:
    """Refuse everything at some of the addresses; no permission is recorded there from now on."""
    values = {"erasure_id": row.erasure_id, "most": OBJECTIONS_AT_ONCE}
    ids = connection.execute(_WITHOUT_OBJECTION, values).scalars().all()
    addresses.lock(connection, ids)
    known = addresses.load(connection, context.keyring, ids, now=now)
    pending = PendingWrites(context.outbox, Lane.LIVE)
    pending.current.need(GIVEN, 0, None, ids)
    pending.current.read(connection)
    rows = []
    for address_id in ids:
        address = known[address_id]
        choice = _objection(context, now, pending.current.at(address_id))
        rows.append(_new(row, address, choice))
        pending.publish(choice, address)
        connection.execute(
            _OBJECTED,
            {"erasure_id": row.erasure_id, "address_id": address_id, "objection": choice.decision.decision_id},
        )
    connection.execute(_ERASING, {"ids": list(ids), "now": now})
    pending.write(connection, rows, now=now)


def _objection(
    context: LedgerContext, now: int, beside: Sequence[Decision], purpose: str = EVERY_PURPOSE
) -> PublishableDecision:
    """Of the address itself: it overrules whatever anybody permitted there before."""
    decision = Decision(
        decision_id=str(context.ids.next(now)),
        subject_ref=None,
        purpose=purpose,
        status=OBJECTED,
        effective_at=now,
        recorded_at=now,
    )
    moment = max(now, effects.counts_from(decision, beside))
    decision = msgspec.structs.replace(decision, effective_at=moment, recorded_at=moment)
    return PublishableDecision(decision=decision, spreads=False, source_system=SOURCE_SYSTEM)


def _new(row: Row[Any], address: Address, choice: PublishableDecision) -> NewDecision:
    return NewDecision(
        tenant=row.tenant,
        channel=address.channel,
        event=None,
        subject_id=None,
        address_id=address.address_id,
        choice=choice,
        occurred_at=None,
        evidence={"capture_method": "erasure", "source_system": SOURCE_SYSTEM, "actor": row.requested_by},
    )


def _erase(connection: Connection, context: LedgerContext, row: Row[Any], now: int) -> None:
    """The next address; after the last one, the subject."""
    ref = None
    if row.subject_id is not None:
        ref = connection.execute(_LOCK_SUBJECT, {"subject_id": row.subject_id}).scalar_one_or_none()
    following = connection.execute(_NEXT, {"erasure_id": row.erasure_id, "most": ADDRESSES_AT_ONCE}).all()
    for each in following:
        _erase_address(connection, context, row, each, ref, now)
    connection.execute(_NO_MORE_TIME, {"erasure_id": row.erasure_id, "now": now})
    if following:
        return
    if row.subject_id is not None:
        meanwhile = scope.again(connection, context.keyring, tenant=row.tenant, subject_id=row.subject_id, now=now)
        if meanwhile.forget or meanwhile.keep:
            erasures.add_scope(connection, str(row.erasure_id), meanwhile)
            return
        connection.execute(_ERASE_SUBJECT, {"subject_id": row.subject_id, "moment": now})
    _finish(connection, context, row, now)


def _erase_address(
    connection: Connection, context: LedgerContext, row: Row[Any], found: Row[Any], ref: str | None, now: int
) -> None:
    old_id = found.address_id
    addresses.lock(connection, [old_id])
    stored = connection.execute(_STORED, {"address_id": old_id}).all()
    forget = found.forget
    if not forget and row.subject_id is not None:
        # The others may have been erased meanwhile.
        forget = scope.is_alone(connection, subject_id=row.subject_id, address_id=old_id)
    # Under every key, the retired ones too: their entries hold the address as well.
    address = Address(
        address_id=old_id,
        tenant=row.tenant,
        channel=stored[0].channel,
        sealed={each.address_key: each.sealed_address for each in stored},
    )
    delivered = erasures.tools(connection, row.erasure_id, address_id=old_id).get(old_id, {})
    counts = _keep_proofs(connection, context, row, address, forget=forget, now=now)
    moment = max(now, connection.execute(_NEWEST, {"address_id": old_id}).scalar_one() + 1)
    pending = PendingWrites(context.outbox, Lane.LIVE)
    pending.current.need(GIVEN, 0, None, [old_id])
    pending.current.read(connection)
    before = pending.current.at(old_id)
    values = {"tenant": row.tenant, "channel": address.channel, "moment": moment}
    new_id = connection.execute(_NEW_ADDRESS, values).scalar_one()
    connection.execute(
        _ERASE_ADDRESS,
        {
            "address_id": old_id,
            "new_id": new_id,
            "subject_id": row.subject_id,
            "forget": forget,
            "moment": moment,
        },
    )
    after = replace(
        address,
        address_id=new_id,
        sealed=dict.fromkeys(address.sealed) if forget else address.sealed,
        erased_at=moment,
    )
    survivors = [] if forget else [each for each in before if each.subject_ref != ref or ref is None]
    made = _made(context, moment, before, survivors, ref)
    slots = {(None, each.decision.purpose) for each in made}
    remaining = [each for each in survivors if (each.subject_ref, each.purpose) not in slots]
    where = {
        "partitions": sorted({context.outbox.partition(key) for key in address.sealed}),
        "keys": [key.encode() for key in address.sealed],
    }
    for statement in _UNPUBLISHED:
        connection.execute(statement, where)
    pending.erase(made, after, remaining)
    pending.write(connection, [_new(row, after, each) for each in made], now=now)
    outcome = {
        "counts": {name: getattr(counts, name) for name in ("decisions", "links", "pauses", "proofs", "receipts")},
        "delivered": {name: each.value for name, each in delivered.items()},
    }
    connection.execute(
        _ERASED,
        {
            "erasure_id": row.erasure_id,
            "new_id": new_id,
            "forget": forget,
            "moment": moment,
            "outcome": outcome,
        },
    )
    if forget:
        keys = list(address.sealed)
        connection.execute(
            erasures.ADD_PERSONS, {"tenant": row.tenant, "erasure_id": str(row.erasure_id), "keys": keys}
        )
        connection.execute(_PERSONS_ERASED, {"tenant": row.tenant, "keys": keys, "moment": moment})


def _made(
    context: LedgerContext, moment: int, before: Sequence[Decision], survivors: Sequence[Decision], ref: str | None
) -> list[PublishableDecision]:
    """What is decided on the address from now on, without a name: at one that others have too, the person's refusals;
    at one of the person's, or where nothing else would be left, that of everything."""
    if survivors or (ref is not None and any(each.subject_ref == ref for each in before)):
        refused = sorted({each.purpose for each in before if each.subject_ref == ref and not permits(each)})
    else:
        refused = []
    if not survivors:
        refused = [EVERY_PURPOSE]
    return [_objection(context, moment, (), purpose) for purpose in refused]


def _keep_proofs(
    connection: Connection, context: LedgerContext, row: Row[Any], address: Address, *, forget: bool, now: int
) -> Counts:
    """Keep what a law asks for, and count what goes."""
    periods = retention.load()
    counts = scope.counts(connection, context.keyring, periods, address, subject_id=row.subject_id, forget=forget)
    period = periods.proof(address.channel, scope.opened(context.keyring, address))
    if period is None:
        return counts
    kept = connection.execute(
        _KEEP_PROOFS,
        {
            "erasure_id": row.erasure_id,
            "address_id": address.address_id,
            "address_key": address.key,
            "subject_id": row.subject_id,
            "forget": forget,
            "notice": list(_NOTICE),
            "ground": period.ground,
            "kept": period.ends(0),
            "now": now,
        },
    )
    return replace(counts, proofs=kept.rowcount)


def _finish(connection: Connection, context: LedgerContext, row: Row[Any], now: int) -> None:
    """All is erased: the certificate."""
    outcomes = connection.execute(_OUTCOMES, {"erasure_id": row.erasure_id}).all()
    at_each = model.by_destination(
        {name: Delivery(delivered) for name, delivered in each.outcome["delivered"].items()} for each in outcomes
    )
    destinations = {name: model.worst(delivered) for name, delivered in at_each.items()}
    certificate = model.certificate(
        forgotten=sum(1 for each in outcomes if each.forget),
        kept=sum(1 for each in outcomes if not each.forget),
        counts=sum((Counts(**each.outcome["counts"]) for each in outcomes), Counts()),
        subject=row.subject_id is not None,
        retention=retention.load(),
        at=now,
        destinations=destinations,
    )
    keys = erasures.person_keys(connection, row.erasure_id)
    # Those that have been opened meanwhile too.
    requests.erased_by(connection, context.keyring, tenant=row.tenant, erasure_id=row.erasure_id, keys=keys)
    requests.forget_keys(connection, context.keyring, tenant=row.tenant, keys=keys)
    connection.execute(_ALL_PERSONS_ERASED, {"erasure_id": row.erasure_id, "moment": now})
    values = {"erasure_id": row.erasure_id, "moment": now, "certificate": model.as_json(certificate)}
    connection.execute(_FINISHED, values)


def _end(connection: Connection, context: LedgerContext, row: Row[Any], now: int) -> bool:
    """Once the relay has published what the erasure says: until then a permission could arrive before it."""
    keys = connection.execute(_KEYS_OF, {"erasure_id": row.erasure_id}).scalars().all()
    where = {
        "partitions": sorted({context.outbox.partition(key) for key in keys}),
        "keys": [key.encode() for key in keys],
    }
    if connection.execute(_IS_UNPUBLISHED, where).scalar_one():
        return False
    connection.execute(_PUBLISHED, {"erasure_id": row.erasure_id})
    connection.execute(_DONE_WITH, {"erasure_id": row.erasure_id})
    connection.execute(_END, {"erasure_id": row.erasure_id, "now": now})
    by, tenant = row.requested_by, row.tenant
    audit.add(connection, tenant=tenant, who=by, act=Act.ERASURE_ENDED, object_id=str(row.erasure_id), at=now)
    requests.resolve_erased(
        connection,
        context.keyring,
        tenant=tenant,
        erasure_id=row.erasure_id,
        by=by,
        now=now,
        certificate=row.certificate,
    )
    return True
