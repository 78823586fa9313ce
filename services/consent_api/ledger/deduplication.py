"""Events that were recorded before: an upstream system that is not sure sends again, and gets the first answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from consent_api.errors import FieldError, SubmissionInvalidError
from consent_api.validate import Accepted
from consent_runtime.keyring import Keyring

from .addresses import live_key_ids
from .lanes import MARK

# Almost every event is new, so the question is asked in its cheapest form first.
_FIND = text("""
SELECT d.decision_id
FROM decisions d
JOIN unnest(CAST(:tenants AS text[]), CAST(:event_ids AS text[])) AS wanted (tenant, event_id)
    USING (tenant, event_id)
""")
_READ = text(f"""
SELECT d.tenant, d.event_id, d.decision_id::text AS decision_id, d.effective_at, d.recorded_at, d.channel, d.purpose,
       d.status, s.subject_ref, {MARK},
       ARRAY(SELECT k.address_key FROM address_keys k WHERE k.address_id = d.address_id) AS named,
       ARRAY(SELECT k.address_key FROM decision_addresses r JOIN address_keys k USING (address_id)
             WHERE r.decision_id = d.decision_id ORDER BY k.address_key) AS reached
FROM decisions d LEFT JOIN subjects s USING (subject_id)
WHERE d.decision_id = ANY(CAST(:decision_ids AS uuid[]))
""")  # noqa: S608 - constants

Event = tuple[str, str]
"""(tenant, event_id)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """A decision in the ledger. ``address_keys`` are those it reached, under the primary hash key.

    ``repeated``: its event had been recorded before, and this is what was recorded then.
    """

    decision_id: str
    recorded_at: int
    address_keys: tuple[str, ...]
    repeated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ExistingEvent:
    """An event in the ledger, with what distinguishes a replay from another choice under the same id.

    ``bulk`` is the decision's mark now.
    """

    recorded: Recorded
    bulk: bool
    choice: tuple[str, str, str, str | None]
    stated_time: int | None
    named: frozenset[str]


def find(connection: Connection, keyring: Keyring, accepted: Sequence[Accepted]) -> dict[Event, ExistingEvent]:
    """Of the events in ``accepted`` those that the ledger holds."""
    wanted = {(each.tenant, each.event_id) for each in accepted if each.event_id is not None}
    if not wanted:
        return {}
    tenants, event_ids = zip(*wanted, strict=True)
    found = connection.execute(_FIND, {"tenants": list(tenants), "event_ids": list(event_ids)}).scalars().all()
    if not found:
        return {}
    known: dict[Event, ExistingEvent] = {}
    for row in connection.execute(_READ, {"decision_ids": found}):
        primary = live_key_ids(keyring, row.tenant)[0] + "."
        known[row.tenant, row.event_id] = ExistingEvent(
            recorded=Recorded(
                decision_id=row.decision_id,
                recorded_at=row.recorded_at,
                address_keys=tuple(key for key in row.reached if key.startswith(primary)),
                repeated=True,
            ),
            bulk=row.bulk,
            choice=(row.channel, row.purpose, row.status, row.subject_ref),
            stated_time=stated_time(row.effective_at, row.recorded_at),
            named=frozenset(row.named),
        )
    return known


def stated_time(effective_at: int, recorded_at: int) -> int | None:
    """When the person chose, if the submission states it. None: the time of receipt counted (none sent, or a later)."""
    return effective_at if effective_at < recorded_at else None


def match_duplicate(known: ExistingEvent, again: Accepted, keyring: Keyring) -> Recorded | SubmissionInvalidError:
    """What was recorded then; or a refusal, because another choice under the same id would be lost in silence."""
    same = known.choice == (again.channel, again.purpose, again.status, again.subject_ref)
    # The same choice at another moment is another choice: between the two the person may have changed their mind.
    again_at = stated_time(again.effective_at, again.recorded_at)
    same = same and (known.stated_time is None or again_at is None or known.stated_time == again_at)
    if same and again.address is not None:
        same = not known.named.isdisjoint(keyring.live_address_keys(again.tenant, again.channel, again.address))
    elif same:
        same = not known.named
    if same:
        return known.recorded
    cure = f"send a new event_id: under this one decision {known.recorded.decision_id} is another choice"
    return SubmissionInvalidError([FieldError(pointer="/event_id", code="event_id_reused", cure=cure)])
