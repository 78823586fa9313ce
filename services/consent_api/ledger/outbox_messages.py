"""What has to be published: rows that commit with the decision, and that the relay deletes once Kafka has them.

No row is one that a broker refuses for good: `validate` bounds every text, so the largest record is some 12 KiB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import msgspec

from consent_api.domain.addresses import Address
from consent_api.domain.fan_out import PublishableDecision
from consent_api.ledger.lanes import Lane
from consent_contracts.cloudevents import headers
from consent_contracts.codec import Codec
from consent_contracts.decisions import Decision
from consent_contracts.partitioner import partition_of
from consent_contracts.topics import Topics
from consent_service import trace_context

EVENT_TYPE = "relay.consent.v1.ConsentChanged"
SOURCE = "/consent-relay/consent-api"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A Kafka record to be, and its partition. ``headers`` is JSON: [[name, value], ...]."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeMessages:
    """Turns decisions into the messages of this installation. ``partitions``: of each changes topic."""

    codec: Codec
    topics: Topics
    partitions: int

    def changes(
        self,
        choice: PublishableDecision,
        address: Address,
        lane: Lane,
        *,
        rewrite: bool = False,
        remaining: Sequence[Decision] | None = None,
    ) -> list[Message]:
        """One ConsentChanged for each live hash key of the address, with the decision's own mark. Their ids are the
        same whenever they are made, so that a consumer recognises what `republish` sends again. `rewrite`: the entry
        is to be written even if this adds nothing to it. `remaining`: this is an erasure, which leaves these decisions
        beside it."""
        decision = choice.decision
        topic = lane.changes(self.topics)
        datum: Mapping[str, Any] = {
            "tenant": address.tenant,
            "channel": address.channel,
            "subject_ref": decision.subject_ref,
            "purpose": decision.purpose,
            "status": decision.status,
            "effective_at": decision.effective_at,
            "recorded_at": decision.recorded_at,
            "expires_at": decision.expires_at,
            "decision_id": decision.decision_id,
            "source_system": choice.source_system,
            "bulk": decision.bulk,
            "rewrite": rewrite,
            "erased_at": address.erased_at,
            "remaining": [msgspec.structs.asdict(each) for each in remaining or ()],
        }
        namespace = UUID(decision.decision_id)
        messages = []
        for address_key, sealed in address.sealed.items():
            event_id = str(uuid5(namespace, address_key if remaining is None else f"{address_key} erased"))
            ce = headers(event_id=event_id, event_type=EVENT_TYPE, source=SOURCE, time_micros=decision.recorded_at)
            key = address_key.encode("ascii")
            if choice.traceparent is not None:
                ce = [*ce, (trace_context.HEADER, choice.traceparent.encode("ascii"))]
            messages.append(
                Message(
                    topic=topic,
                    partition=self.partition(address_key),
                    key=key,
                    value=self.codec.encode(
                        topic,
                        {**datum, "event_id": event_id, "address_key": address_key, "sealed_address": sealed},
                    ),
                    headers=json.dumps([[name, value.decode()] for name, value in ce]),
                )
            )
        return messages

    def partition(self, address_key: str) -> int:
        """The partition of an address in every changes topic and list."""
        return partition_of(address_key.encode("ascii"), self.partitions)
