"""Single entries on the list topics, as the merge would write them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from consent_contracts import AddressEntry, Codec, Decision, Topics, entry_to_avro
from consent_kafka import clients
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.bench.figures import Servers
from tests.bench.legacy import TENANT
from tests.bench.polling import pause_until


class ListWriter:
    """Writes entries of one decision each, one after the other."""

    def __init__(self, servers: Servers, topics: Topics, keyring: Keyring) -> None:
        self._topics = topics
        self._keyring = keyring
        self._codec = Codec.connect(servers.registry, topics)
        self._producer: Any = clients.producer(servers.kafka, linger_ms=1)

    def decide(self, channel: str, address: str, purpose: str, status: str, *, bulk: bool = False) -> tuple[str, int]:
        """Write the entry with this decision alone; the address key, and when the decision was recorded (micros)."""
        key, recorded = self._keyring.address_key(TENANT, channel, address), now_micros()
        entry = AddressEntry(
            tenant=TENANT,
            channel=channel,
            address_key=key,
            sealed_address=self._keyring.seal(key, address),
            decisions=(
                Decision(
                    decision_id=str(uuid4()),
                    subject_ref=None,
                    purpose=purpose,
                    status=status,
                    effective_at=recorded,
                    recorded_at=recorded,
                    bulk=bulk,
                ),
            ),
        )
        topic = self._topics.suppression(channel)
        self._producer.produce(topic, self._codec.encode(topic, entry_to_avro(entry, recorded)), key.encode())
        self._producer.poll(0)
        return key, recorded

    def withdraw_live(self, addresses: Sequence[str], purpose: str, *, rate: float) -> dict[str, int]:
        """By e-mail, `rate` a second; by address key, when it was recorded (micros)."""
        begin, recorded = time.monotonic(), {}
        for position, address in enumerate(addresses):
            pause_until(begin + position / rate)
            key, at = self.decide("email", address, purpose, "withdrawn")
            recorded[key] = at
        self.flush()
        return recorded

    def flush(self) -> None:
        if self._producer.flush(30):
            raise RuntimeError("Kafka did not take the entries")
