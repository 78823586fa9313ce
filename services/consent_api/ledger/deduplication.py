"""Events that were recorded before: an upstream system that is not sure sends again, and gets the first answer.

An event id is unique with its source (docs/decisions/0022): two systems that both count from 1 know nothing of one
another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from consent_api.domain.effects import Outcome
from consent_api.domain.validation import Event, ExpiryCut, ValidDecision
from consent_api.errors import FieldViolation, SubmissionInvalidError
from consent_api.ledger.addresses import live_key_ids
from consent_api.ledger.lanes import MARK
from consent_api.ledger.rows import decision_of
from consent_contracts.decisions import GIVEN, Decision
from consent_contracts.join import SKEW_MICROS
from consent_privacy.addresses import aliases
from consent_privacy.keyring import Keyring

# Almost every event is new, so the question is asked in its cheapest form first.
_FIND = text("""
SELECT d.decision_id
FROM decisions d
JOIN unnest(CAST(:tenants AS text[]), CAST(:sources AS text[]), CAST(:event_ids AS text[]))
    AS wanted (tenant, event_source, event_id) USING (tenant, event_source, event_id)
""")
_READ = text(f"""
SELECT d.tenant, d.event_source, d.event_id, d.channel, d.occurred_at, d.subject_id,
       d.decision_id::text AS decision_id, s.subject_ref, d.purpose, d.status, d.effective_at, d.recorded_at,
       d.expires_at, {MARK},
       ARRAY(SELECT k.address_key FROM address_keys k WHERE k.address_id = d.address_id) AS named,
       ARRAY(SELECT r.address_id FROM decision_addresses r WHERE r.decision_id = d.decision_id) AS address_ids,
       ARRAY(SELECT k.address_key FROM decision_addresses r JOIN address_keys k USING (address_id)
             WHERE r.decision_id = d.decision_id ORDER BY k.address_key) AS address_keys
FROM decisions d LEFT JOIN subjects s USING (subject_id)
WHERE d.decision_id = ANY(CAST(:decision_ids AS uuid[]))
""")  # noqa: S608 - constants

_SECOND, _MILLISECOND = 1_000_000, 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedDecision:
    """A decision in the ledger. ``address_keys`` are those it reached, under the primary hash key.

    ``repeated``: its event had been recorded before, and this is what was recorded then. ``outcome``: its effect now.
    ``effective_at``: what it is compared by with others. ``unknown_subject``: the reference was new, and came without
    an address. ``without_effect``: it changed nothing when it was recorded; one that a later choice has superseded did.
    Of a repetition without a time that is not known, as it may be a new choice: it counts as one that changed nothing.
    ``cut``: why it ends sooner than was submitted.
    """

    decision_id: str
    status: str
    effective_at: int
    recorded_at: int
    address_keys: tuple[str, ...]
    outcome: Outcome
    without_effect: bool
    unknown_subject: bool = False
    repeated: bool = False
    cut: ExpiryCut | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A decision in the ledger and the addresses that it reached, their keys under the primary hash key."""

    decision: Decision
    subject_id: int | None
    address_ids: tuple[int, ...]
    address_keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExistingEvent:
    """An event in the ledger, with what distinguishes a replay from another choice under the same id.

    The decision's ``bulk`` is its mark now. ``occurred_at`` as it was stated; None: the time of receipt counted.
    """

    written: Written
    channel: str
    occurred_at: int | None
    named: frozenset[str]


def find(connection: Connection, keyring: Keyring, accepted: Sequence[ValidDecision]) -> dict[Event, ExistingEvent]:
    """Of the events in ``accepted`` those that the ledger holds."""
    wanted = {each.event for each in accepted if each.event is not None}
    if not wanted:
        return {}
    tenants, sources, event_ids = zip(*wanted, strict=True)
    columns = {"tenants": list(tenants), "sources": list(sources), "event_ids": list(event_ids)}
    found = connection.execute(_FIND, columns).scalars().all()
    if not found:
        return {}
    known: dict[Event, ExistingEvent] = {}
    for row in connection.execute(_READ, {"decision_ids": found}):
        primary = live_key_ids(keyring, row.tenant)[0] + "."
        known[row.tenant, row.event_source, row.event_id] = ExistingEvent(
            written=Written(
                decision=decision_of(row),
                subject_id=row.subject_id,
                address_ids=tuple(row.address_ids),
                address_keys=tuple(key for key in row.address_keys if key.startswith(primary)),
            ),
            channel=row.channel,
            occurred_at=row.occurred_at,
            named=frozenset(row.named),
        )
    return known


def existing(written: Written, accepted: ValidDecision, keyring: Keyring) -> ExistingEvent:
    """What `find` would return for a decision that has just been recorded."""
    named = (
        keyring.live_address_keys(accepted.tenant, accepted.channel, accepted.address)
        if accepted.address is not None
        else ()
    )
    return ExistingEvent(
        written=written, channel=accepted.channel, occurred_at=accepted.occurred_at, named=frozenset(named)
    )


def reused(known: ExistingEvent, again: ValidDecision, keyring: Keyring) -> SubmissionInvalidError | None:
    """A refusal when ``again`` is another choice under the same id, which would be lost in silence; None: a repeat."""
    first = known.written.decision
    same = (known.channel, first.purpose, first.status, first.subject_ref) == (
        again.channel,
        again.purpose,
        again.status,
        again.subject_ref,
    )
    # The same choice at another moment is another choice: between the two the person may have changed their mind.
    if known.occurred_at is None and again.occurred_at is not None:
        # It was received first, so it cannot have been made after that.
        same = same and again.occurred_at <= first.recorded_at + SKEW_MICROS
    else:
        same = same and same_moment(known.occurred_at, again.occurred_at)
    if same and again.address is not None:
        # A refusal reaches every form of a number, so another form of it is no other choice.
        others = () if again.status == GIVEN else aliases(again.channel, again.address)
        same = not known.named.isdisjoint(
            key
            for form in (again.address, *others)
            for key in keyring.live_address_keys(again.tenant, again.channel, form)
        )
    elif same:
        same = not known.named
    if same:
        return None
    cure = f"send a new event_id: under this one decision {first.decision_id} is another choice of the same source"
    return SubmissionInvalidError([FieldViolation(pointer="/event_id", code="event_id_reused", cure=cure)])


def same_moment(one: int | None, other: int | None) -> bool:
    """Whether two stated times (micros) are one, of which a system on the way may have kept milliseconds or seconds
    only, cut or rounded. A time that was not stated is any."""
    if one is None or other is None:
        return True
    unit = max(_precision(one), _precision(other))
    return other // unit == one // unit or (one + unit // 2) // unit == (other + unit // 2) // unit


def _precision(moment: int) -> int:
    return next((unit for unit in (_SECOND, _MILLISECOND) if moment % unit == 0), 1)
