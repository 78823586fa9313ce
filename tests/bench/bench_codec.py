"""The codec against confluent-kafka's own Avro serialisers, in turns.

Those get the schemas without logical types, so that both sides read times as numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from consent_contracts import AddressEntry, Codec, Decision, Topics, entry_to_avro, record_names, subject
from consent_contracts import schemas as contracts
from consent_contracts.codec import ConfluentRegistry
from tests.bench.figures import Figure, Servers, ratio

ROUND = 20_000
DECODE_TARGET = 2.5


def _entry() -> AddressEntry:
    choices = [("newsletter", "given"), ("survey", "withdrawn"), ("*", "objected")]
    return AddressEntry(
        tenant="acme",
        channel="sms",
        address_key="k1." + "q" * 43,
        sealed_address=b"s1:" + b"x" * 40,
        decisions=tuple(
            Decision(
                decision_id=f"0198c0de-0000-7000-8000-00000000000{n}",
                subject_ref="customer-4711",
                purpose=purpose,
                status=status,
                effective_at=1_760_000_000_000_000 + n,
                recorded_at=1_760_000_000_100_000 + n,
            )
            for n, (purpose, status) in enumerate(choices)
        ),
    )


CHANGE = {
    "event_id": "0198c0de-0000-7000-8000-000000000001",
    "tenant": "acme",
    "channel": "sms",
    "address_key": "k1." + "q" * 43,
    "sealed_address": b"s1:" + b"x" * 40,
    "subject_ref": "customer-4711",
    "purpose": "newsletter",
    "status": "withdrawn",
    "effective_at": 1_760_000_000_000_000,
    "recorded_at": 1_760_000_000_100_000,
    "expires_at": None,
    "decision_id": "0198c0de-0000-7000-8000-000000000001",
    "source_system": "crm",
    "bulk": False,
    "rewrite": False,
    "erased_at": None,
    "remaining": [],
}


def measure(servers: Servers | None) -> list[Figure]:
    """Needs no server: the registry is confluent-kafka's own mock. Reads and writes the same data on both sides."""
    topics = Topics(prefix="bench.")
    return [
        *_against_confluent(topics.changes, CHANGE),
        *_against_confluent(topics.suppression("sms"), entry_to_avro(_entry(), 1_760_000_000_200_000)),
    ]


def _against_confluent(topic: str, datum: dict[str, Any]) -> list[Figure]:
    record = record_names(topic)[0]
    registry = ConfluentRegistry("mock://bench")
    registry.register(subject(topic, record), contracts.schema_text(record))
    codec = Codec(registry)
    framed = codec.encode(topic, datum)

    client = SchemaRegistryClient.new_client({"url": "mock://bench-baseline"})
    context = SerializationContext(topic, MessageField.VALUE)
    plain = json.dumps(contracts.without_annotations(contracts.current_schema(record)))
    serialize = AvroSerializer(client, plain)
    deserialize = AvroDeserializer(client, plain)
    theirs = serialize(datum, context)
    assert deserialize(theirs, context) == codec.decode(topic, framed) == datum

    decode, decoded, _ = ratio(
        _repeat(lambda: codec.decode(topic, framed)), _repeat(lambda: deserialize(theirs, context))
    )
    encode, encoded, _ = ratio(_repeat(lambda: codec.encode(topic, datum)), _repeat(lambda: serialize(datum, context)))
    how = f"one {record}, {len(framed)} B; 5 rounds of {ROUND} in turns, median"
    return [
        Figure(name=f"decode {record} vs AvroDeserializer", value=decode, unit="x", target=DECODE_TARGET, how=how),
        Figure(name=f"decode {record}", value=decoded, unit="records/s", how=how),
        Figure(name=f"encode {record} vs AvroSerializer", value=encode, unit="x", how=how),
        Figure(name=f"encode {record}", value=encoded, unit="records/s", how=how),
    ]


def _repeat(call: Callable[[], object]) -> Callable[[], int]:
    def work() -> int:
        for _ in range(ROUND):
            call()
        return ROUND

    return work
