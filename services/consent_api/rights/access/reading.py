"""Reads all that the ledger holds about a person, page by page: of any length in little memory.

Each page is read in a transaction of its own, so that a slow reader holds none open. Decisions never change, so the
pages fit together; what is recorded after the export began is not in it.

Whose data it is: all of the person's own decisions; those about an address that the person has proven; and what another
person decided only as far as it decides what applies there now, without who it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Row, text

from consent_api.http.models import Evidence
from consent_api.ledger import addresses, database, subjects
from consent_api.ledger.addresses import live_key_ids
from consent_api.ledger.current import CurrentDecisions
from consent_api.ledger.erased import subject_keys
from consent_api.ledger.lanes import MARK
from consent_api.ledger.rows import decision_of
from consent_api.links.theme import Theme
from consent_api.rights import requests
from consent_api.rights.access import model
from consent_api.rights.person_ref import PersonRef
from consent_api.rights.requests import RightsRequest
from consent_contracts.cloudevents import rfc3339, rfc3339_or_none
from consent_contracts.decisions import GIVEN, Decision
from consent_contracts.verdict import Verdict, effective_verdict, verdicts
from consent_http.words import Language
from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring

T = TypeVar("T")
Transact = Callable[[Callable[[Connection], T]], T]

PAGE = 500
"""Decisions that are read at once."""
IDS_AT_ONCE = 20_000
"""Ids of decisions that are read at once."""
MOST_REQUESTS = 10_000
"""That an export has: a person opens six a minute at most, and only those that are answered at once again."""
_FIRST = UUID(int=0)

_SUBJECT = text("SELECT subject_ref, created_at FROM subjects WHERE subject_id = :subject_id")
_LINKED_SUBJECTS = text("""
SELECT DISTINCT subject_id FROM subject_addresses
WHERE address_id = ANY(CAST(:address_ids AS bigint[])) AND unlinked_at IS NULL LIMIT 2
""")
_LINKS = text("""
SELECT address_id, max(linked_at) AS linked_at, bool_or(unlinked_at IS NULL) AS is_linked,
       max(unlinked_at) AS unlinked_at
FROM subject_addresses WHERE subject_id = :subject_id GROUP BY address_id
""")
_REACHED = text("""
SELECT DISTINCT r.address_id FROM decisions d JOIN decision_addresses r USING (decision_id)
WHERE d.subject_id = :subject_id
""")
_ADDRESSES = text("""
SELECT k.address_id, k.channel, k.address_key, k.sealed_address, a.created_at, a.erased_at, b.bounced_at,
       b.delivered_at, c.made_at, u.used_at
FROM address_keys k JOIN addresses a USING (address_id) LEFT JOIN deliverability b USING (address_id)
LEFT JOIN allow_once_uses u USING (address_id)
LEFT JOIN address_codes c ON c.tenant = k.tenant AND c.channel = k.channel AND c.address_key = k.address_key
WHERE k.address_id = ANY(CAST(:ids AS bigint[])) ORDER BY a.created_at, k.address_id, k.address_key
""")
_RETAINED = text("""
SELECT channel, purpose, effective_at, recorded_at, expires_at, notice, ground, keep_until FROM retained_proofs
WHERE tenant = :tenant AND address_key = ANY(CAST(:keys AS text[])) ORDER BY effective_at, proof_id
""")
# The index of entries begins with the register.
_REGISTERS = text("""
SELECT register, address_id, purpose, as_of FROM register_entries
WHERE tenant = :tenant AND register IN (SELECT register FROM register_loads WHERE tenant = :tenant)
  AND address_id = ANY(CAST(:ids AS bigint[]))
ORDER BY register, address_id, purpose
""")
# Those of the subject, and those of no one but the person: the same number may be of another subject's hold.
_HOLDS = text("""
SELECT reason, set_at, until, released_at FROM legal_holds
WHERE tenant = :tenant
  AND (person_keys && CAST(:subject_keys AS text[]) OR person_keys <@ CAST(:keys AS text[]))
ORDER BY set_at, hold_id
""")
_PAUSES = text("""
SELECT channel, purpose, paused_at, ends_at, expires_at FROM pauses
WHERE address_id = ANY(CAST(:ids AS bigint[]))
  AND (subject_ref IS NULL OR subject_ref = CAST(:subject_ref AS text))
ORDER BY ends_at, channel, purpose
""")
# Own decisions, wherever they reached; of an address that is proven, what was decided about the address itself.
_NEXT_IDS = text("""
SELECT decision_id FROM (
    (SELECT d.decision_id FROM decisions d
     WHERE d.subject_id = :subject_id AND NOT :at_addresses AND d.decision_id > :after AND d.recorded_at <= :at
     ORDER BY d.decision_id LIMIT :most)
    UNION
    (SELECT r.decision_id FROM unnest(CAST(:address_ids AS bigint[])) AS own (address_id)
     JOIN decision_addresses r USING (address_id) JOIN decisions d USING (decision_id)
     WHERE r.decision_id > :after AND d.recorded_at <= :at
       AND (d.subject_id IS NULL OR (:at_addresses AND d.subject_id = :subject_id))
     ORDER BY r.decision_id LIMIT :most)
) AS found ORDER BY decision_id LIMIT :most
""")
_DECISIONS = text(f"""
SELECT d.decision_id::text AS decision_id, s.subject_ref, d.channel, d.purpose, d.status, d.occurred_at, d.effective_at,
       d.recorded_at, d.expires_at, d.event_source, d.event_id, d.source_system, d.evidence, {MARK},
       (SELECT n.asked_at FROM renewals n WHERE n.decision_id = d.decision_id AND n.due) AS renewal_asked_at,
       ARRAY(SELECT r.address_id FROM decision_addresses r WHERE r.decision_id = d.decision_id) AS reached
FROM decisions d LEFT JOIN subjects s USING (subject_id)
WHERE d.decision_id = ANY(CAST(:ids AS uuid[])) ORDER BY d.decision_id
""")  # noqa: S608 - constants
_RECEIPTS = text("""
SELECT d.decision_id::text AS decision_id, r.destination, r.channel, r.target, r.action, r.stage, r.reached_at,
       r.provider_reference, r.detail
FROM receipt_decisions d JOIN receipts r USING (receipt_id)
WHERE d.decision_id = ANY(CAST(:ids AS uuid[])) AND r.tenant = :tenant
  AND r.address_key = ANY(CAST(:address_keys AS text[]))
ORDER BY r.reached_at, r.receipt_id
""")
# A review has the id of its first decision.
_REVIEWS = text("""
SELECT review_id::text AS review_id, channel, source, received_at, sealed_reply, resolution, resolved_at FROM reviews
WHERE review_id = ANY(CAST(:ids AS uuid[])) AND tenant = :tenant ORDER BY review_id
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Address:
    """``own``: proven to be the person's now, by a link in the ledger or by what the person came with."""

    address_id: int
    channel: str
    clear: str | None = field(repr=False)
    keys: tuple[str, ...]
    known_since: int
    linked_at: int | None
    unlinked_at: int | None
    erased_at: int | None
    bounced_at: int | None
    delivered_at: int | None
    code_at: int | None
    confirmed_at: int | None
    own: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What the pages are read by. ``at_addresses``: of the subject only what reached the proven addresses."""

    tenant: str
    at: int
    subject_id: int | None
    at_addresses: bool
    by_id: Mapping[int, _Address]
    current: CurrentDecisions

    @property
    def own(self) -> list[_Address]:
        return [each for each in self.by_id.values() if each.own]

    @property
    def keys(self) -> list[str]:
        return [key for each in self.by_id.values() for key in each.keys]


class Export:
    """All that is held about one person. ``head`` is read at once; `pages` reads the decisions, once, and `tail` is
    complete after that. Everything raises LedgerUnavailableError.

    ``names_subject``: whether an address alone shows to which subject it is linked, and that one's event ids. Not to
    someone who has proven the address alone: a number may have moved on, and the ledger not know it yet.
    """

    def __init__(
        self,
        transact: Transact[Any],
        keyring: Keyring,
        person: PersonRef,
        *,
        theme: Theme,
        language: Language,
        names_subject: bool = True,
    ) -> None:
        self._names_subject = names_subject or person.subject_ref is not None
        self._transact = transact
        self._keyring = keyring
        self._person = person
        self._found, self.head = transact(lambda c: self._begin(c, theme, language))
        self._reviews: list[model.HeldReview] = []
        self._recipients: dict[tuple[str, str], model.Recipient] = {}
        for each in self.head.decided_by_another:
            self._note(each.passed_on)

    def pages(self) -> Iterator[list[model.HeldDecision]]:
        """The decisions, in the order in which they were recorded."""
        after = _FIRST
        while ids := self._transact(partial(self._ids, after=after)):
            for begin in range(0, len(ids), PAGE):
                page = ids[begin : begin + PAGE]
                decisions, reviews = self._transact(partial(self._page, ids=page))
                self._reviews += reviews
                for each in decisions:
                    self._note(each.passed_on)
                yield decisions
            after = ids[-1]

    @property
    def tail(self) -> model.Tail:
        return model.Tail(reviews=self._reviews, recipients=list(self._recipients.values()))

    def _begin(self, connection: Connection, theme: Theme, language: Language) -> tuple[_Found, model.Head]:
        person, keyring = self._person, self._keyring
        at = database.clock(connection)
        places = (addresses.find(connection, keyring, named) for named in person.places)
        proven = {each.address_id for each in places if each is not None}
        subject_id = subjects.find(connection, person.tenant, person.subject_ref) if person.subject_ref else None
        at_addresses = person.subject_ref is None
        if at_addresses:
            subject_id = _only_subject(connection, proven)
        by_id = self._addresses(connection, subject_id, proven, at_addresses=at_addresses)
        current = CurrentDecisions()
        current.need(GIVEN, 0, None, by_id)
        current.read(connection)
        found = _Found(
            tenant=person.tenant,
            at=at,
            subject_id=subject_id,
            at_addresses=at_addresses,
            by_id=by_id,
            current=current,
        )
        subject = connection.execute(_SUBJECT, {"subject_id": subject_id}).one_or_none()
        subject_ref = subject.subject_ref if subject is not None else None
        others = self._decided_by_another(connection, found, subject_ref)
        retained = self._retained(connection, found)
        # Whose requests and holds are shown: one that names another subject came with the number of both.
        named = person.subject_ref or (subject_ref if self._names_subject else None)
        holds = self._holds(connection, named)
        return found, model.Head(
            version=model.VERSION,
            generated_at=rfc3339(at),
            controller=theme.controller or None,
            person=model.Person(subject_ref=person.subject_ref, channel=person.channel, address=person.address),
            held=subject is not None or bool(by_id) or bool(retained) or bool(holds),
            subjects=[model.HeldSubject(subject_ref=subject.subject_ref, known_since=rfc3339(subject.created_at))]
            if subject is not None and self._names_subject
            else [],
            addresses=[_held_address(each, current, at) for each in by_id.values()],
            purposes=[
                model.DescribedPurpose(purpose=each.id, title=each.title.in_(language), text=each.text.in_(language))
                for each in theme.purposes
            ],
            pauses=[
                model.HeldPause(
                    channel=row.channel,
                    purpose=row.purpose,
                    paused_at=rfc3339(row.paused_at),
                    ends_at=rfc3339(row.ends_at),
                    permission_expires_at=rfc3339(row.expires_at),
                )
                for row in connection.execute(
                    _PAUSES, {"ids": [each.address_id for each in found.own], "subject_ref": subject_ref}
                )
            ],
            requests=[
                _held_request(each)
                for each in requests.of_person(connection, keyring, person, most=MOST_REQUESTS)
                if each.person is not None and each.person.subject_ref in (None, named)
            ],
            decided_by_another=others,
            retained_proofs=retained,
            registers=self._registers(connection, found),
            holds=holds,
        )

    def _addresses(
        self, connection: Connection, subject_id: int | None, proven: Collection[int], *, at_addresses: bool
    ) -> dict[int, _Address]:
        links: dict[int, Row[Any]] = {}
        reached: list[int] = []
        if subject_id is not None:
            links = {row.address_id: row for row in connection.execute(_LINKS, {"subject_id": subject_id})}
            if not at_addresses:
                reached = list(connection.execute(_REACHED, {"subject_id": subject_id}).scalars())
        wanted = {*proven} if at_addresses else {*proven, *links, *reached}
        rows: dict[int, list[Row[Any]]] = {}
        for row in connection.execute(_ADDRESSES, {"ids": list(wanted)}):
            rows.setdefault(row.address_id, []).append(row)
        return {
            address_id: self._address(of_one, links.get(address_id), is_proven=address_id in proven)
            for address_id, of_one in rows.items()
        }

    def _address(self, rows: Sequence[Row[Any]], link: Row[Any] | None, *, is_proven: bool) -> _Address:
        row = rows[0]
        is_linked = link is not None and link.is_linked
        return _Address(
            address_id=row.address_id,
            channel=row.channel,
            clear=self._clear(rows),
            keys=tuple(each.address_key for each in rows),
            known_since=row.created_at,
            linked_at=link.linked_at if link is not None else None,
            unlinked_at=link.unlinked_at if link is not None and not link.is_linked else None,
            erased_at=row.erased_at,
            bounced_at=row.bounced_at,
            delivered_at=row.delivered_at,
            code_at=max((each.made_at for each in rows if each.made_at is not None), default=None),
            confirmed_at=row.used_at,
            own=is_proven or is_linked,
        )

    def _clear(self, rows: Sequence[Row[Any]]) -> str | None:
        """The address under the primary hash key if it can be opened, or under any."""
        primary = live_key_ids(self._keyring, self._person.tenant)[0] + "."
        for row in sorted(rows, key=lambda each: not each.address_key.startswith(primary)):
            if row.sealed_address is None:
                continue
            try:
                return self._keyring.open(row.address_key, bytes(row.sealed_address))
            except DecryptionFailedError:
                continue
        return None

    def _decided_by_another(
        self, connection: Connection, found: _Found, subject_ref: str | None
    ) -> list[model.DecidedByAnother]:
        deciding: list[tuple[_Address, str, Decision]] = []
        for address in found.own:
            on_address = {each.decision_id: each for each in found.current.at(address.address_id)}
            for purpose, known in verdicts(on_address.values()).items():
                decision = on_address.get(known.decision_id or "")
                if decision is not None and decision.subject_ref not in (None, subject_ref):
                    deciding.append((address, purpose, decision))
        passed_on: dict[int, dict[str, list[model.PassedOn]]] = {}
        for address in {each.address_id: each for each, *_ in deciding}.values():
            ids = [UUID(decision.decision_id) for each, _, decision in deciding if each is address]
            passed_on[address.address_id] = self._passed_on(connection, ids, address.keys)
        return [
            model.DecidedByAnother(
                channel=address.channel,
                address=address.clear,
                purpose=purpose,
                status=decision.status,
                effective_at=rfc3339(decision.effective_at),
                expires_at=rfc3339_or_none(decision.expires_at),
                passed_on=passed_on[address.address_id].get(decision.decision_id, []),
            )
            for address, purpose, decision in deciding
        ]

    def _retained(self, connection: Connection, found: _Found) -> list[model.RetainedProof]:
        """Of the proven addresses: by their keyed hashes, as an erasure leaves nothing else."""
        keys = {key for each in found.own for key in each.keys}
        keys.update(key for named in self._person.places for key in self._keyring.live_address_keys(*named))
        rows = connection.execute(_RETAINED, {"tenant": found.tenant, "keys": sorted(keys)})
        return [
            model.RetainedProof(
                channel=row.channel,
                purpose=row.purpose,
                effective_at=rfc3339(row.effective_at),
                recorded_at=rfc3339(row.recorded_at),
                expires_at=rfc3339_or_none(row.expires_at),
                notice=row.notice,
                ground=row.ground,
                kept_until=rfc3339(row.keep_until),
            )
            for row in rows
        ]

    def _holds(self, connection: Connection, named: str | None) -> list[model.HeldHold]:
        person, keyring = self._person, self._keyring
        values = {
            "tenant": person.tenant,
            "subject_keys": [] if named is None else list(subject_keys(keyring, person.tenant, named)),
            "keys": person.keys(keyring),
        }
        return [
            model.HeldHold(
                reason=row.reason,
                set_at=rfc3339(row.set_at),
                until=rfc3339_or_none(row.until),
                released_at=rfc3339_or_none(row.released_at),
            )
            for row in connection.execute(_HOLDS, values)
        ]

    def _registers(self, connection: Connection, found: _Found) -> list[model.RegisterEntry]:
        values = {"tenant": found.tenant, "ids": [each.address_id for each in found.own]}
        return [
            model.RegisterEntry(
                register=row.register,
                channel=found.by_id[row.address_id].channel,
                address=found.by_id[row.address_id].clear,
                purpose=row.purpose,
                as_of=rfc3339(row.as_of),
            )
            for row in connection.execute(_REGISTERS, values)
        ]

    def _ids(self, connection: Connection, after: UUID) -> list[UUID]:
        found = self._found
        values = {
            "subject_id": found.subject_id,
            "at_addresses": found.at_addresses,
            "address_ids": [each.address_id for each in found.own],
            "after": after,
            "at": found.at,
            "most": IDS_AT_ONCE,
        }
        return list(connection.execute(_NEXT_IDS, values).scalars())

    def _page(
        self, connection: Connection, ids: Collection[UUID]
    ) -> tuple[list[model.HeldDecision], list[model.HeldReview]]:
        rows = connection.execute(_DECISIONS, {"ids": list(ids)}).all()
        passed_on = self._passed_on(connection, ids, self._found.keys)
        reviews = connection.execute(_REVIEWS, {"ids": list(ids), "tenant": self._found.tenant})
        return (
            [self._decision(row, passed_on.get(row.decision_id, [])) for row in rows],
            [self._review(row) for row in reviews],
        )

    def _passed_on(
        self, connection: Connection, ids: Collection[UUID], address_keys: Iterable[str]
    ) -> dict[str, list[model.PassedOn]]:
        values = {"ids": list(ids), "tenant": self._person.tenant, "address_keys": list(address_keys)}
        found: dict[str, list[model.PassedOn]] = {}
        for row in connection.execute(_RECEIPTS, values):
            found.setdefault(row.decision_id, []).append(
                model.PassedOn(
                    recipient=row.destination,
                    channel=row.channel,
                    target=row.target,
                    action=row.action,
                    stage=row.stage,
                    at=rfc3339(row.reached_at),
                    reference=row.provider_reference,
                    detail=row.detail,
                )
            )
        return found

    def _decision(self, row: Row[Any], passed_on: list[model.PassedOn]) -> model.HeldDecision:
        found = self._found
        reached = [each for each in row.reached if each in found.by_id]
        outcome = found.current.outcome(decision_of(row), reached, now=found.at)
        return model.HeldDecision(
            decision_id=row.decision_id,
            channel=row.channel,
            purpose=row.purpose,
            status=row.status,
            stated_at=rfc3339_or_none(row.occurred_at),
            effective_at=rfc3339(row.effective_at),
            recorded_at=rfc3339(row.recorded_at),
            expires_at=rfc3339_or_none(row.expires_at),
            effect=outcome.effect.value,
            superseded_by=outcome.superseded_by,
            superseded_since=rfc3339_or_none(outcome.superseded_since),
            event_source=row.event_source if self._names_subject else None,
            event_id=row.event_id if self._names_subject else None,
            source_system=row.source_system,
            evidence=msgspec.convert(row.evidence, Evidence),
            addresses=[found.by_id[each].clear for each in reached],
            passed_on=passed_on,
            renewal_asked_at=rfc3339_or_none(row.renewal_asked_at),
        )

    def _review(self, row: Row[Any]) -> model.HeldReview:
        try:
            sealed = row.sealed_reply
            reply = self._keyring.open_record(bytes(sealed), row.review_id.encode()).decode() if sealed else None
        except DecryptionFailedError:
            reply = None
        return model.HeldReview(
            channel=row.channel,
            source=row.source,
            received_at=rfc3339(row.received_at),
            reply=reply,
            resolution=row.resolution,
            resolved_at=rfc3339_or_none(row.resolved_at),
        )

    def _note(self, passed_on: Iterable[model.PassedOn]) -> None:
        for each in passed_on:
            place = (each.recipient, each.channel)
            known = self._recipients.get(place)
            first, last = (known.first_at, known.last_at) if known is not None else (each.at, each.at)
            self._recipients[place] = model.Recipient(
                recipient=each.recipient, channel=each.channel, first_at=min(first, each.at), last_at=max(last, each.at)
            )


def _only_subject(connection: Connection, address_ids: Collection[int]) -> int | None:
    """Whose address it is, if it is linked to one subject alone: who proves an address that several share may be any of
    them."""
    linked = connection.execute(_LINKED_SUBJECTS, {"address_ids": list(address_ids)}).scalars().all()
    return linked[0] if len(linked) == 1 else None


def _held_address(address: _Address, current: CurrentDecisions, at: int) -> model.HeldAddress:
    known = verdicts(current.at(address.address_id)) if address.own else {}
    return model.HeldAddress(
        channel=address.channel,
        address=address.clear,
        known_since=rfc3339(address.known_since),
        linked_at=rfc3339_or_none(address.linked_at),
        unlinked_at=rfc3339_or_none(address.unlinked_at),
        current=[_current(purpose, effective_verdict(known, purpose, at)) for purpose in known],
        erased_at=rfc3339_or_none(address.erased_at) if address.own else None,
        bounced_at=rfc3339_or_none(address.bounced_at) if address.own else None,
        delivered_at=rfc3339_or_none(address.delivered_at) if address.own else None,
        code_at=rfc3339_or_none(address.code_at) if address.own else None,
        confirmed_at=rfc3339_or_none(address.confirmed_at) if address.own else None,
    )


def _current(purpose: str, found: Verdict) -> model.Current:
    return model.Current(
        purpose=purpose,
        permitted=found.permitted,
        reason=found.reason,
        since=rfc3339_or_none(found.since),
        expires_at=rfc3339_or_none(found.expires_at),
    )


def _held_request(found: RightsRequest) -> model.HeldRequest:
    return model.HeldRequest(
        request_id=found.request_id,
        kind=found.kind.value,
        identity=found.identity.value,
        identity_note=found.identity_note,
        opened_at=rfc3339(found.opened_at),
        due_at=rfc3339(found.due_at),
        extended_at=rfc3339_or_none(found.extended_at),
        extension_reason=found.extension_reason,
        state=found.state.value,
        resolved_at=rfc3339_or_none(found.resolved_at),
        reason=found.reason,
    )
