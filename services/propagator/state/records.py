"""Rows and receipts as records of their topics, CloudEvents headers included."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from typing import Any

import msgspec

from consent_contracts import cloudevents
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_service import trace_context
from propagator.desired.model import DeliveredTarget
from propagator.desired.receipt import Receipt
from propagator.state.committer import OutgoingRecord
from propagator.state.planning import PlannedDestination
from propagator.state.rows import DestinationFill, address_datum, destination_datum, row_key

_LATEST_HEADER_MICROS = 253_402_300_799_000_000
"""The end of the year 9999: RFC 3339 knows no later time, and an entry may hold one."""


class RecordBuilder:
    """Builds the records of one propagator. Raises ValueError or TypeError for a value that does not fit its schema."""

    def __init__(self, codec: Codec, topics: Topics, propagator: str) -> None:
        self._codec = codec
        self._state_topic = topics.propagation_state(propagator)
        self._receipts_topic = topics.receipts
        process = os.urandom(8).hex()
        # A random one for each row would be a system call for each, in which another thread takes the interpreter.
        self._event_ids = (f"{process}-{number}" for number in count())

    def address(
        self,
        destination: PlannedDestination,
        address_key: str,
        rows: Mapping[str, DeliveredTarget],
        *,
        partition: int,
        now: int,
    ) -> OutgoingRecord:
        """The row of an address; a tombstone when no target is left."""
        if not rows:
            return OutgoingRecord(
                topic=self._state_topic, key=row_key(destination.name, address_key), value=None, partition=partition
            )
        datum = address_datum(
            destination=destination.name,
            tenant=destination.rules.tenant,
            address_key=address_key,
            rows=rows.values(),
            written_at=now,
        )
        return self._state(destination.name, address_key, datum, partition, now)

    def fill(
        self, destination: PlannedDestination, fill: DestinationFill, *, partition: int, now: int
    ) -> OutgoingRecord:
        """The destination's own row in one partition."""
        datum = destination_datum(
            destination=destination.name, tenant=destination.rules.tenant, fill=fill, written_at=now
        )
        return self._state(destination.name, "", datum, partition, now)

    def receipt(self, receipt: Receipt) -> OutgoingRecord:
        """One receipt, keyed by its address."""
        receipt_id = receipt.receipt_id
        datum = msgspec.structs.asdict(receipt) | {"receipt_id": receipt_id}
        traceparent = datum.pop("traceparent")
        headers = cloudevents.headers(
            event_id=receipt_id,
            event_type="relay.consent.v1.PropagationReceipt",
            source=f"/propagator/{receipt.destination}",
            time_micros=min(max(receipt.reached_at, 0), _LATEST_HEADER_MICROS),
        )
        if traceparent is not None:
            headers = [*headers, (trace_context.HEADER, traceparent.encode("ascii"))]
        value = self._codec.encode(self._receipts_topic, datum)
        return OutgoingRecord(
            topic=self._receipts_topic,
            key=receipt.address_key.encode(),
            value=value,
            headers=headers,
            receipt=(receipt.destination, receipt.stage),
        )

    def _state(
        self, destination: str, address_key: str, datum: Mapping[str, Any], partition: int, now: int
    ) -> OutgoingRecord:
        headers = cloudevents.headers(
            event_id=next(self._event_ids),
            event_type="relay.consent.v1.PropagationState",
            source=f"/propagator/{destination}",
            time_micros=now,
        )
        return OutgoingRecord(
            topic=self._state_topic,
            key=row_key(destination, address_key),
            value=self._codec.encode(self._state_topic, datum),
            headers=headers,
            partition=partition,
        )
