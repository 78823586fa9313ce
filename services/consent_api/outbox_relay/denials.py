"""What replaces a row that the broker refuses for good: a record that denies its address.

None should exist, as `validate` bounds what becomes a record. But a row that stays holds its partition's resolved
timestamp back for ever, and one that is dropped may have been a withdrawal; so the address is denied until a person
gives permission again, and it is reported.
"""

from __future__ import annotations

from uuid import UUID, uuid5

from sqlalchemy import Connection, text

from consent_api.ledger.database import CLOCK_MICROS
from consent_api.ledger.lanes import Lane
from consent_api.ledger.outbox_messages import EVENT_TYPE, SOURCE
from consent_api.outbox_relay.outbox_table import Row
from consent_contracts.cloudevents import headers
from consent_contracts.codec import Codec
from consent_contracts.decisions import EVERY_PURPOSE

_DENIAL = UUID("0198f6a4-51c2-7d3e-9a41-6a1f1d0c7b56")
_ADDRESS = text(
    # The clock that stamps decisions: by a slow one of this host, a permission that was given before would hold.
    f"SELECT k.tenant, k.channel, a.erased_at, {CLOCK_MICROS} AS now"  # noqa: S608 - a constant
    " FROM address_keys k JOIN addresses a USING (address_id) WHERE k.address_key = :address_key"
)


def denial_of(connection: Connection, codec: Codec, row: Row, lane: Lane) -> Row | None:
    """The replacement, in the row's place and partition; None when the ledger has no address with this key, so that
    the record concerned none. Raises RegistryUnavailableError."""
    address_key = row.key.decode("ascii", "replace")
    found = connection.execute(_ADDRESS, {"address_key": address_key}).first()
    if found is None:
        return None
    decision_id = str(uuid5(_DENIAL, f"{address_key} {lane.value} {row.id}"))
    event_id = str(uuid5(UUID(decision_id), address_key))
    datum = {
        "event_id": event_id,
        "tenant": found.tenant,
        "channel": found.channel,
        "address_key": address_key,
        "sealed_address": None,
        # Of the address itself: it overrules whatever any subject gave before.
        "subject_ref": None,
        "purpose": EVERY_PURPOSE,
        "status": "invalidated",
        "effective_at": found.now,
        "recorded_at": found.now,
        "expires_at": None,
        "decision_id": decision_id,
        "source_system": None,
        "bulk": lane is Lane.BULK,
        # Without it an entry of after an erasure would not take it.
        "erased_at": found.erased_at,
    }
    ce = headers(event_id=event_id, event_type=EVENT_TYPE, source=SOURCE, time_micros=found.now)
    return Row(
        id=row.id,
        topic=row.topic,
        partition=row.partition,
        key=row.key,
        value=codec.encode(row.topic, datum),
        headers=[*ce],
    )
