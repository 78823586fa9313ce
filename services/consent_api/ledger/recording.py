"""Recording decisions: the ledger's rows and the messages that follow from them, in one transaction.

The way of a batch: known events are set aside; the subjects of the others are locked, which is what makes a link and
a decision see one another; addresses are found or created, and what is decided on them is read; then each decision in
its order reaches its addresses, in memory; then all is written at once. However large the batch, the number of
statements is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
from sqlalchemy import Connection

from consent_api.domain import effects
from consent_api.domain.addresses import Address, Named
from consent_api.domain.fan_out import PublishableDecision, SubjectChannel, spreads
from consent_api.domain.validation import Event, ValidDecision
from consent_api.errors import FieldViolation, SubmissionInvalidError
from consent_api.ledger import addresses, deduplication, erased, live_repeats, notices, subjects, writes
from consent_api.ledger.deduplication import ExistingEvent, RecordedDecision, Written
from consent_api.ledger.ids import DecisionIds
from consent_api.ledger.lanes import Lane
from consent_api.ledger.notices import RequiredNotices
from consent_api.ledger.outbox_messages import ChangeMessages
from consent_api.ledger.pending_writes import PendingWrites
from consent_api.ledger.purposes import PurposeLimit
from consent_contracts.decisions import GIVEN, Decision, permits
from consent_contracts.verdict import verdict
from consent_privacy.keyring import Keyring
from consent_service import trace_context

Outcome = RecordedDecision | SubmissionInvalidError

_TOO_MANY_ADDRESSES = "too_many_addresses"


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerContext:
    """What writing into the ledger needs."""

    keyring: Keyring
    outbox: ChangeMessages
    ids: DecisionIds
    most_addresses: int = 50
    """Of one subject, on all channels together: a refusal of it reaches them all, with a message about each."""
    purposes: PurposeLimit = field(default_factory=PurposeLimit)
    notices: RequiredNotices = RequiredNotices.ANY


def record(
    connection: Connection, context: LedgerContext, accepted: Sequence[ValidDecision], *, lane: Lane
) -> list[Outcome]:
    """Record decisions in their order, within the caller's transaction; one outcome each, in the same order.

    All their messages go by `lane`, whose time limits the caller has set; each decision keeps its own mark. A live
    repetition of a bulk decision makes that decision live, and publishes it again. What comes of each is evaluated once
    all of them are recorded.

    Nothing is recorded before that transaction has committed. UnknownTenantError when the keyring does not know a
    tenant; contention surfaces as the database's error, for `transact` to run it again.
    """
    if not accepted:
        return []
    excess = context.purposes.admit(connection, ((each.tenant, each.purpose) for each in accepted))
    wrong_notices = notices.refusals(connection, accepted, context.notices)
    known = deduplication.find(connection, context.keyring, accepted)
    return _Batch(connection, context, accepted, known, excess, wrong_notices, lane=lane).write()


def record_refusals(
    connection: Connection, context: LedgerContext, accepted: Sequence[ValidDecision], *, lane: Lane
) -> list[Outcome]:
    """As `record`, of a person's refusals without event ids: what would give the subject one address too many is
    recorded of the subject, and of the address, apart. Then there are more outcomes than decisions."""
    recorded = record(connection, context, accepted, lane=lane)
    found: list[Outcome] = []
    parts: list[ValidDecision] = []
    for each, outcome in zip(accepted, recorded, strict=True):
        if (both := apart(each, outcome)) is not None:
            parts += both
        else:
            found.append(outcome)
    return [*found, *record(connection, context, parts, lane=lane)]


def apart(submitted: ValidDecision, outcome: Outcome) -> tuple[ValidDecision, ValidDecision] | None:
    """The refusal of the address and that of the subject, where one of both is not recorded since the subject would
    have too many addresses; else None. Pure."""
    if submitted.status == GIVEN or not isinstance(outcome, SubmissionInvalidError):
        return None
    if all(each.code != _TOO_MANY_ADDRESSES for each in outcome.faults):
        return None
    return replace(submitted, subject_ref=None), replace(submitted, address=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Repeated:
    """A submission whose event is in the ledger already, or earlier in this batch."""

    first: Written


_Result = Written | _Repeated | SubmissionInvalidError


class _Batch:
    """Decisions on their way into the tables."""

    def __init__(
        self,
        connection: Connection,
        context: LedgerContext,
        accepted: Sequence[ValidDecision],
        known: Mapping[Event, ExistingEvent],
        excess: Collection[tuple[str, str]],
        wrong_notices: Mapping[notices.Named, SubmissionInvalidError],
        *,
        lane: Lane,
    ) -> None:
        """`known`: events that the ledger holds; `excess`: a tenant's purposes that are one too many;
        `wrong_notices`: what is wrong with notices that permissions name."""
        self._connection = connection
        self._context = context
        self._accepted = accepted
        self._now = max(each.recorded_at for each in accepted)
        self._pending = PendingWrites(context.outbox, lane)
        self._excess = excess
        self._wrong_notices = wrong_notices
        self._events = dict(known)
        self._settled = [self._refused_or_repeated(each) for each in accepted]
        """In step with `accepted`: what comes of those on which nothing is to be decided, None for the others."""
        self._fresh = [each for each, settled in zip(accepted, self._settled, strict=True) if settled is None]
        self._rows: list[writes.NewDecision] = []

    def write(self) -> list[Outcome]:
        made_live = self._made_live()
        self._refuse_erased()
        named = dict.fromkeys(name for each in self._fresh for name in _names(each))
        refs = {
            (each.tenant, each.subject_ref)
            for each in (*self._fresh, *made_live.values())
            if each.subject_ref is not None
        }
        self._locked = subjects.lock(self._connection, refs, now=self._now)
        self._found = addresses.resolve(self._connection, self._context.keyring, named, now=self._now)
        self._channels = self._read_channels()
        self._read_current()
        results = [
            settled if settled is not None else self._decide(each)
            for each, settled in zip(self._accepted, self._settled, strict=True)
        ]
        aliases = self._pending.widen(self._connection, self._context.keyring, now=self._now)
        results = [_widened(each, aliases) for each in results]
        live_repeats.make_live(self._connection, self._context.keyring, self._pending, made_live.keys(), now=self._now)
        self._pending.write(self._connection, self._rows, now=self._now)
        return self._evaluated(results)

    def _refused_or_repeated(self, each: ValidDecision) -> _Repeated | SubmissionInvalidError | None:
        if (each.tenant, each.purpose) in self._excess:
            return self._context.purposes.refusal()
        if (repeat := self._repeat(each)) is not None:
            return repeat
        named = notices.named(each) if self._wrong_notices else None
        return self._wrong_notices.get(named) if named is not None else None

    def _repeat(self, each: ValidDecision) -> _Repeated | SubmissionInvalidError | None:
        """None: its event is new."""
        known = self._events.get(each.event) if each.event is not None else None
        if known is None:
            return None
        return deduplication.reused(known, each, self._context.keyring) or _Repeated(first=known.written)

    def _refuse_erased(self) -> None:
        """Permissions of persons who have been erased are refused before anything of them is stored."""
        persons = [person for each in self._fresh if each.status == GIVEN for person in erased.persons(each)]
        self._erased = erased.find(self._connection, self._context.keyring, persons)
        if not self._erased:
            return
        for at, each in enumerate(self._accepted):
            if self._settled[at] is None and each.status == GIVEN:
                fault = erased.why_refused(each, self._erased)
                self._settled[at] = SubmissionInvalidError([fault]) if fault is not None else None
        self._fresh = [each for each, settled in zip(self._accepted, self._settled, strict=True) if settled is None]

    def _made_live(self) -> dict[str, ValidDecision]:
        """The bulk decisions, by id, that one of the live submissions repeats. Their subjects are locked too."""
        return {
            settled.first.decision.decision_id: each
            for each, settled in zip(self._accepted, self._settled, strict=True)
            if isinstance(settled, _Repeated) and settled.first.decision.bulk and not each.bulk
        }

    def _read_channels(self) -> dict[tuple[int, str], SubjectChannel]:
        """Each subject on each channel of the batch, as it is before the batch."""
        linked = addresses.linked(self._connection, self._context.keyring, self._locked.existing, now=self._now)
        self._links = Counter({subject_id: len(of_subject) for subject_id, of_subject in linked.items()})
        channels: dict[tuple[int, str], SubjectChannel] = {}
        gaining: set[int] = set()
        for each in self._fresh:
            subject_id = self._subject_id(each)
            if subject_id is None:
                continue
            slot = (subject_id, each.channel)
            if slot not in channels:
                channels[slot] = SubjectChannel(a for a in linked.get(subject_id, ()) if a.channel == each.channel)
            name = _name(each)
            if name is not None and not channels[slot].is_linked(self._found[name].address_id):
                gaining.add(subject_id)
        for subject_id, channel, refusal in writes.inherited_refusals(self._connection, gaining - self._locked.created):
            if (subject_id, channel) in channels:
                channels[subject_id, channel].add_refusal(refusal)
        return channels

    def _read_current(self) -> None:
        """What is decided on the addresses that the batch may reach, in no statement where all of them are new. After
        the subjects are locked, so that what was recorded of them before is seen.

        An address's own refusal of earlier is lifted by any subject's permission, whose lock is not held: it could be
        said to be in effect while one that lifts it is being recorded. So its address is locked.
        """
        addresses.lock(
            self._connection,
            {
                self._found[name].address_id
                for each in self._fresh
                if each.subject_ref is None and each.status != GIVEN and each.occurred_at is not None
                for name in _names(each)
                if not self._found[name].is_new
            },
        )
        current = self._pending.current
        current.created(
            addresses=[address.address_id for address in self._found.values() if address.is_new],
            subjects=self._locked.created,
        )
        for each in self._fresh:
            subject_id, name = self._subject_id(each), _name(each)
            reached = [self._found[name]] if name is not None else []
            if subject_id is not None and name is None:
                reached = self._channels[subject_id, each.channel].linked
            current.need(each.status, each.effective_at, subject_id, [address.address_id for address in reached])
        self._need(settled.first for settled in self._settled if isinstance(settled, _Repeated))
        current.read(self._connection)

    def _need(self, written: Iterable[Written]) -> None:
        for each in written:
            decision = each.decision
            self._pending.current.need(decision.status, decision.effective_at, each.subject_id, each.address_ids)

    def _decide(self, each: ValidDecision) -> _Result:
        if (repeat := self._repeat(each)) is not None:
            return repeat
        name, subject_id = _name(each), self._subject_id(each)
        address = self._found[name] if name is not None else None
        channel = self._channels[subject_id, each.channel] if subject_id is not None else SubjectChannel()
        if each.status == GIVEN and address is not None:
            fault = erased.why_refused_at(each, address)
            if fault is not None:
                return SubmissionInvalidError([fault])
        if not each.may_lift and self._may_not_lift(each, channel, address):
            return SubmissionInvalidError([_MAY_NOT_LIFT])
        gains = subject_id is not None and address is not None and not channel.is_linked(address.address_id)
        if gains and subject_id is not None:
            if self._links[subject_id] >= self._context.most_addresses:
                return SubmissionInvalidError([links_exceeded("/address", self._context)])
            self._links[subject_id] += 1
        if each.status == GIVEN:
            address = self._come_back(each, name, address)
        if gains and subject_id is not None and address is not None:
            self._pending.link(subject_id, channel, address)
        choice = self._choice(each, channel, address)
        reached = channel.addresses_for(choice, address)
        if each.status == GIVEN:
            reached = [target for target in reached if not (target.is_erased or target.erasing)]
        for target in reached:
            self._pending.publish(choice, target)
        self._rows.append(
            writes.NewDecision(
                tenant=each.tenant,
                channel=each.channel,
                event=each.event,
                subject_id=subject_id,
                address_id=address.address_id if address is not None else None,
                choice=choice,
                occurred_at=each.occurred_at,
                evidence=each.evidence,
            )
        )
        written = Written(
            decision=choice.decision,
            subject_id=subject_id,
            address_ids=tuple(target.address_id for target in reached),
            address_keys=tuple(sorted(target.key for target in reached)),
        )
        if each.event is not None:
            self._events[each.event] = deduplication.existing(written, each, self._context.keyring)
        return written

    def _come_back(self, each: ValidDecision, name: Named | None, address: Address | None) -> Address | None:
        """A person who was erased has given a new permission: the address is sealed again, as the tools need it."""
        if self._erased:
            erased.comes_back(self._connection, self._context.keyring, each)
        if name is None or address is None or not address.is_erased:
            return address
        found = addresses.seal_again(self._connection, self._context.keyring, address, name[2], now=self._now)
        self._found[name] = found
        if found.sealed.keys() != address.sealed.keys():
            # Under a hash key of after the erasure the list has none of its refusals.
            for refusal in self._pending.current.at(address.address_id):
                self._pending.publish_again(
                    PublishableDecision(decision=refusal, spreads=False, source_system=None), found
                )
        return found

    def _may_not_lift(self, each: ValidDecision, channel: SubjectChannel, named: Address | None) -> bool:
        """Whether this is a permission that would meet a refusal: one that decides at an address it reaches, or that
        the address inherits when it is linked."""
        if each.status != GIVEN:
            return False
        current = self._pending.current
        if named is None:
            return any(effects.forbids(current.verdict(target.address_id, each.purpose)) for target in channel.linked)
        if channel.is_linked(named.address_id) or not channel.refusals:
            return effects.forbids(current.verdict(named.address_id, each.purpose))
        inherited = [choice.decision for choice in channel.refusals]
        return effects.forbids(verdict([*current.at(named.address_id), *inherited], each.purpose))

    def _choice(self, each: ValidDecision, channel: SubjectChannel, address: Address | None) -> PublishableDecision:
        """With the moment from which it counts, where that depends on what is decided on the addresses it reaches."""
        decision = _decision(each, decision_id=str(self._context.ids.next(each.recorded_at)))
        spread = spreads(each.subject_ref, decision)
        choice = PublishableDecision(
            decision=decision,
            spreads=spread,
            source_system=each.source_system,
            traceparent=each.traceparent or _current_traceparent(),
        )
        as_stated = each.may_lift if permits(decision) else each.occurred_at is not None
        if as_stated:
            return choice
        current = self._pending.current
        reached = [current.beside(decision, target.address_id) for target in channel.addresses_for(choice, address)]
        if permits(decision):
            moment = min(
                (effects.lifts_nothing_from(decision, there) for there in reached), default=decision.effective_at
            )
        else:
            moment = max((effects.counts_from(decision, there) for there in reached), default=decision.effective_at)
        recorded_at = max(moment, decision.recorded_at)
        return replace(choice, decision=msgspec.structs.replace(decision, effective_at=moment, recorded_at=recorded_at))

    def _evaluated(self, results: Sequence[_Result]) -> list[Outcome]:
        self._need(written for each in results if (written := _written(each)) is not None)
        self._pending.current.read(self._connection)
        return [self._outcome(each, result) for each, result in zip(self._accepted, results, strict=True)]

    def _outcome(self, submitted: ValidDecision, result: _Result) -> Outcome:
        if isinstance(result, SubmissionInvalidError):
            return result
        repeated = isinstance(result, _Repeated)
        written = result.first if isinstance(result, _Repeated) else result
        decision = written.decision
        outcome = self._pending.current.outcome(decision, written.address_ids, now=self._now)
        return RecordedDecision(
            decision_id=decision.decision_id,
            status=decision.status,
            effective_at=decision.effective_at,
            recorded_at=decision.recorded_at,
            address_keys=written.address_keys,
            outcome=outcome,
            without_effect=self._without_effect(written, outcome, submitted, repeated=repeated),
            unknown_subject=written.subject_id in self._locked.created and not written.address_ids,
            repeated=repeated,
            cut=submitted.cut if not repeated else None,
        )

    def _without_effect(
        self, written: Written, outcome: effects.Outcome, submitted: ValidDecision, *, repeated: bool
    ) -> bool:
        """Whether it changed nothing from the first: what decides was recorded before it. A repetition without a time
        counts as such, since it may be a new choice, of a system that uses its ids again."""
        if outcome.superseded_by is None:
            return outcome.effect is not effects.Effect.IN_EFFECT
        if repeated and submitted.occurred_at is None:
            return True
        if not repeated and self._pending.current.was_stored(outcome.superseded_by):
            return True
        return outcome.superseded_by <= written.decision.decision_id

    def _subject_id(self, each: ValidDecision) -> int | None:
        return self._locked.ids[each.tenant, each.subject_ref] if each.subject_ref is not None else None


def _written(result: _Result) -> Written | None:
    """What the ledger holds of it, or is to hold."""
    if isinstance(result, SubmissionInvalidError):
        return None
    return result.first if isinstance(result, _Repeated) else result


def _name(each: ValidDecision) -> Named | None:
    return (each.tenant, each.channel, each.address) if each.address is not None else None


def _names(each: ValidDecision) -> list[Named]:
    """The address that is named, and, so that two who refuse it by two forms at once cannot deadlock, its aliases."""
    name = _name(each)
    if name is None:
        return []
    return [name] if each.status == GIVEN else [name, *addresses.names_of_aliases(name)]


def _widened(result: _Result, aliases: Mapping[str, Sequence[Address]]) -> _Result:
    if isinstance(result, _Repeated):
        return _Repeated(first=_reaching(result.first, aliases))
    return _reaching(result, aliases) if isinstance(result, Written) else result


def _reaching(written: Written, aliases: Mapping[str, Sequence[Address]]) -> Written:
    """With the aliases of its addresses, where it reaches them."""
    also = aliases.get(written.decision.decision_id, ())
    if not also:
        return written
    return replace(
        written,
        address_ids=tuple({*written.address_ids, *(address.address_id for address in also)}),
        address_keys=tuple(sorted({*written.address_keys, *(address.key for address in also)})),
    )


def _current_traceparent() -> str | None:
    """Of the request that records a decision in its own thread."""
    trace = trace_context.current()
    return str(trace) if trace is not None else None


def _decision(each: ValidDecision, *, decision_id: str) -> Decision:
    return Decision(
        decision_id=decision_id,
        subject_ref=each.subject_ref,
        purpose=each.purpose,
        status=each.status,
        effective_at=each.effective_at,
        recorded_at=each.recorded_at,
        expires_at=each.expires_at,
        bulk=each.bulk,
    )


def links_exceeded(pointer: str, context: LedgerContext) -> FieldViolation:
    """What is wrong where a subject would have more addresses than it may."""
    return FieldViolation(
        pointer=pointer,
        code=_TOO_MANY_ADDRESSES,
        cure=f"a subject has at most {context.most_addresses} addresses: is this reference one person's? Withdraw by"
        " address alone (leave subject_ref out), or unlink addresses that are no longer the person's",
    )


_MAY_NOT_LIFT = FieldViolation(
    pointer="/status",
    code="may_not_lift_refusal",
    cure="this sender's permissions lift no refusal: have the person choose again where they refused",
)
