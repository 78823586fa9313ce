"""What has to be published: rows that commit with the decision, and that the relay deletes once Kafka has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from consent_contracts.cloudevents import headers
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics

from .addresses import Address
from .reach import Choice

EVENT_TYPE = "relay.consent.v1.ConsentChanged"
SOURCE = "/consent-relay/consent-api"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A Kafka record to be. ``headers`` is JSON: [[name, value], ...]."""

    topic: str
    key: bytes
    value: bytes
    headers: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outbox:
    """Turns decisions into the messages of this installation."""

    codec: Codec
    topics: Topics

    def changes(self, choice: Choice, address: Address) -> list[Message]:
        """One ConsentChanged for each live hash key of the address. Their ids are the same whenever they are made,
        so that a consumer recognises what `republish` sends again."""
        decision = choice.decision
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
        }
        namespace = UUID(decision.decision_id)
        messages = []
        for address_key, sealed in address.sealed.items():
            event_id = str(uuid5(namespace, address_key))
            ce = headers(event_id=event_id, event_type=EVENT_TYPE, source=SOURCE, time_micros=decision.recorded_at)
            messages.append(
                Message(
                    topic=self.topics.changes,
                    key=address_key.encode("ascii"),
                    value=self.codec.encode(
                        self.topics.changes,
                        {**datum, "event_id": event_id, "address_key": address_key, "sealed_address": sealed},
                    ),
                    headers=json.dumps([[name, value.decode()] for name, value in ce]),
                )
            )
        return messages
