"""Confluent framing: what fits is read back, what does not says why, and the registry may vanish (R4, R16)."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from hypothesis import given
from hypothesis import strategies as st

from consent_contracts import (
    AddressEntry,
    Codec,
    InvalidRecordError,
    NotRegisteredError,
    RegistryUnavailableError,
    Topics,
    UnreadableError,
    entry_from_avro,
    entry_from_change,
    entry_to_avro,
    verdicts,
    verdicts_of,
)
from consent_contracts import schemas as contracts
from consent_contracts.codec import ConfluentRegistry
from tests.unit.contracts.strategies import entries

TOPICS = Topics()
CHANGE = {
    "event_id": "e1",
    "tenant": "acme",
    "channel": "sms",
    "address_key": "k1.q83v",
    "sealed_address": b"s1:abc",
    "subject_ref": "ann",
    "purpose": "newsletter",
    "status": "withdrawn",
    "effective_at": 1,
    "recorded_at": 2,
    "expires_at": None,
    "decision_id": "d1",
    "source_system": "crm",
    "bulk": False,
    "rewrite": False,
    "erased_at": None,
    "remaining": [],
}


class Registry:
    """A registry in memory; fails while ``unavailable``."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.subjects: defaultdict[str, set[int]] = defaultdict(set)
        self.unavailable = False
        self.asked = 0

    def id_of(self, subject: str, schema_text: str) -> int:
        self._answer()
        if schema_text not in self.texts:
            self.texts.append(schema_text)
        schema_id = self.texts.index(schema_text) + 1
        self.subjects[subject].add(schema_id)
        return schema_id

    def schemas_of(self, subject: str) -> dict[int, str]:
        self._answer()
        self.asked += 1
        return {schema_id: self.texts[schema_id - 1] for schema_id in self.subjects[subject]}

    def _answer(self) -> None:
        if self.unavailable:
            raise RegistryUnavailableError("unavailable")


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def codec(registry: Registry) -> Codec:
    codec = Codec(registry)
    codec.prepare(spec.name for spec in TOPICS.specs())
    registry.unavailable = True  # Everything below works without it, unless a test brings it back.
    return codec


def test_a_record_is_read_back_without_the_registry(codec: Codec) -> None:
    framed = codec.encode(TOPICS.changes, CHANGE)
    assert framed[0] == 0
    assert int.from_bytes(framed[1:5], "big") == codec.schema_id(TOPICS.changes)
    assert codec.decode(TOPICS.changes, framed) == CHANGE


def test_every_cut_of_a_record_is_refused(codec: Codec) -> None:
    framed = codec.encode(TOPICS.changes, CHANGE)
    for length in range(len(framed)):
        with pytest.raises(UnreadableError) as refused:
            codec.decode(TOPICS.changes, framed[:length])
        assert refused.value.reason in {"empty", "truncated", "undecodable"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "empty"), (b"", "empty"), (b"{}", "not_framed"), (b"\x00\x00\x00\x00", "truncated")],
)
def test_what_is_not_framed_says_so(codec: Codec, value: bytes | None, reason: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        codec.decode(TOPICS.changes, value)
    assert refused.value.reason == reason


def test_a_schema_of_another_type_is_refused(codec: Codec) -> None:
    framed = codec.encode(TOPICS.changes, CHANGE)
    with pytest.raises(UnreadableError) as refused:
        codec.decode(TOPICS.suppression("sms"), framed)
    assert refused.value.reason == "wrong_schema"


def test_bytes_left_over_are_refused(codec: Codec) -> None:
    with pytest.raises(UnreadableError) as refused:
        codec.decode(TOPICS.changes, codec.encode(TOPICS.changes, CHANGE) + b"\x00")
    assert refused.value.reason == "undecodable"


def test_an_unknown_id_is_unreadable_only_when_the_registry_says_so(codec: Codec, registry: Registry) -> None:
    unknown = b"\x00\x00\x00\x00\x63abc"
    with pytest.raises(RegistryUnavailableError):
        codec.decode(TOPICS.changes, unknown)
    registry.unavailable = False
    with pytest.raises(UnreadableError, match=r"schema id 99 .*consent\.changes\.v1-.*register") as refused:
        codec.decode(TOPICS.changes, unknown)
    assert refused.value.reason == "unknown_schema"


def test_which_values_need_the_registry_is_known_without_it(codec: Codec, registry: Registry) -> None:
    topic = TOPICS.changes
    own = codec.encode(topic, CHANGE)
    registry.unavailable = True
    unknown = b"\x00\x00\x00\x00\x63" + own[5:]
    asked = [value for value in (own, unknown, own[:3], b"{}", b"", None) if codec.asks_registry(topic, value)]
    assert asked == [unknown]
    with pytest.raises(RegistryUnavailableError):
        codec.decode(topic, unknown)


def test_invented_ids_of_a_batch_cost_one_request(codec: Codec, registry: Registry) -> None:
    registry.unavailable = False
    read_at = time.monotonic()
    for schema_id in range(1_000, 2_000):
        with pytest.raises(UnreadableError) as refused:
            codec.decode(TOPICS.inbound, b"\0" + schema_id.to_bytes(4, "big") + b"abc", read_at=read_at)
        assert refused.value.reason == "unknown_schema"
    assert registry.asked == 1


def test_a_schema_that_is_registered_after_the_last_request_is_found(codec: Codec, registry: Registry) -> None:
    registry.unavailable = False
    with pytest.raises(UnreadableError):
        codec.decode(TOPICS.inbound, b"\0\0\0\x09\x09abc")
    framed = produced_by_others(registry, {"occurred_at": "long"}, {**SUBMITTED, "occurred_at": 7})
    assert codec.decode(TOPICS.inbound, framed, read_at=time.monotonic()) == {**SUBMITTED, "occurred_at": 7}


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_but_unreadable(noise: bytes) -> None:
    registry = Registry()
    codec = Codec(registry)
    codec.prepare([TOPICS.changes])
    outcome = "decoded"
    try:
        codec.decode(TOPICS.changes, b"\x00" + codec.schema_id(TOPICS.changes).to_bytes(4, "big") + noise)
    except UnreadableError as error:
        outcome = error.reason
    assert outcome in {"decoded", "truncated", "undecodable"}


@given(entries())
def test_an_entry_survives_its_topic_with_its_verdicts(entry: AddressEntry) -> None:
    codec = Codec(Registry())
    topic = TOPICS.suppression("sms")
    datum = codec.decode(topic, codec.encode(topic, entry_to_avro(entry, written_at=7)))
    assert entry_from_avro(datum) == entry
    assert verdicts_of(datum) == verdicts(entry.decisions)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "maybe"),
        ("purpose", "No Slug"),
        ("channel", "SMS"),
        ("tenant", ""),
        ("address_key", ""),
        ("decision_id", ""),
        ("effective_at", 3),
        ("tenant", "t" * 201),
        ("address_key", "k" * 201),
        ("decision_id", "d" * 201),
        ("subject_ref", "s" * 201),
        ("sealed_address", bytes(1_025)),
    ],
)
def test_a_change_that_breaks_a_rule_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidRecordError) as refused:
        entry_from_change(CHANGE | {field: value})
    assert refused.value.field == field


def test_a_grant_of_everything_never_becomes_state() -> None:
    with pytest.raises(InvalidRecordError):
        entry_from_change(CHANGE | {"purpose": "*", "status": "given"})


@pytest.mark.parametrize("name", contracts.RECORD_NAMES)
def test_every_field_is_explained(name: str) -> None:
    def undocumented(schema: Any, path: str) -> list[str]:
        found: list[str] = []
        if isinstance(schema, list):
            for branch in schema:
                found += undocumented(branch, path)
        elif isinstance(schema, dict):
            if schema.get("type") == "record" and not schema.get("doc"):
                found.append(path)
            for field in schema.get("fields", ()):
                here = f"{path}.{field['name']}"
                found += [] if field.get("doc") else [here]
                found += undocumented(field["type"], here)
            for inner in ("items", "values", "type"):
                if isinstance(schema.get(inner), dict | list):
                    found += undocumented(schema[inner], path)
        return found

    assert undocumented(contracts.current_schema(name), name) == []


def test_schema_that_is_not_registered_is_named_with_the_cure() -> None:
    topic = Topics().changes
    with pytest.raises(
        NotRegisteredError, match=r"consent\.changes\.v1-relay\.consent\.v1\.ConsentChanged: .*topics apply"
    ):
        Codec(ConfluentRegistry("mock://nothing registered")).prepare([topic])


def test_a_version_that_is_deleted_while_the_registry_is_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = ConfluentRegistry("mock://deleted meanwhile")
    kept = SimpleNamespace(version=2, schema_id=7, schema=SimpleNamespace(schema_str="{}"))

    def get_version(_: object, __: str, version: Any, **___: Any) -> Any:
        if version == 1:
            raise SchemaRegistryError(404, 40402, "Version not found.")
        return kept

    mock = type(SchemaRegistryClient.new_client({"url": "mock://any"}))
    monkeypatch.setattr(mock, "get_versions", lambda *_, **__: [1, 2])
    monkeypatch.setattr(mock, "get_version", get_version)

    assert registry.schemas_of("any") == {7: "{}"}


def test_a_topic_with_two_records_is_read_by_the_record_of_each(codec: Codec) -> None:
    resolved = {"resolved_at": 5, "inbound_resolved_at": None, "loss": 0, "repaired": None}
    framed = codec.encode(TOPICS.changes, resolved, "ConsentResolved")
    assert codec.decode_record(TOPICS.changes, framed) == ("ConsentResolved", resolved)
    assert codec.decode_record(TOPICS.changes, codec.encode(TOPICS.changes, CHANGE)) == ("ConsentChanged", CHANGE)
    with pytest.raises(UnreadableError, match=r"no relay\.consent\.v1\.ConsentChanged"):
        codec.decode(TOPICS.changes, framed)
    with pytest.raises(ValueError, match="carries no ListResolved"):
        codec.encode(TOPICS.changes, resolved, "ListResolved")


SUBMITTED: dict[str, Any] = {
    "event_id": "f990f0e7-2def-4f5c-801e-5bfeb12622b0",
    "tenant": None,
    "channel": "sms",
    "purpose": "newsletter",
    "status": "withdrawn",
    "subject_ref": "ann",
    "address": None,
    "occurred_at": 1_767_603_600_123_456,
    "expires_at": None,
    "evidence": None,
}


def produced_by_others(registry: Registry, change: dict[str, Any], datum: dict[str, Any]) -> bytes:
    """What a producer writes whose schema has other types for some fields, with an Avro library of its own."""
    schema = contracts.current_schema("ConsentSubmitted")
    for field in schema["fields"]:
        if field["name"] in change:
            field["type"] = change[field["name"]]
            field.pop("default", None)
    registry.unavailable = False
    schema_id = registry.id_of(f"{TOPICS.inbound}-value", json.dumps(schema))
    out = BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    out.seek(0, 2)
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas={}), datum)
    return out.getvalue()


MOMENT = datetime(2026, 1, 5, 9, 0, 0, 123_456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "sent", "read"),
    [
        ("long", 1_767_603_600_123_456, 1_767_603_600_123_456),
        ({"type": "long", "logicalType": "timestamp-micros"}, 1_767_603_600_123_456, 1_767_603_600_123_456),
        ({"type": "long", "logicalType": "timestamp-micros"}, MOMENT, 1_767_603_600_123_456),
        ({"type": "long", "logicalType": "timestamp-micros"}, 2**63 - 1, 2**63 - 1),
        ({"type": "long", "logicalType": "timestamp-millis"}, MOMENT, 1_767_603_600_123_000),
        ({"type": "long", "logicalType": "timestamp-millis"}, 2**63 - 1, (2**63 - 1) * 1_000),
        ({"type": "long", "logicalType": "timestamp-nanos"}, 1_767_603_600_123_456_789, 1_767_603_600_123_456),
        ({"type": "long", "logicalType": "timestamp-nanos"}, -1, -1),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, 1_767_603_600_123, 1_767_603_600_123_000),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, 1_767_603_600_123_456, 1_767_603_600_123_456),
        ({"type": "long", "logicalType": "local-timestamp-nanos"}, 1_767_603_600_123_456_789, 1_767_603_600_123_456),
        ({"type": "int", "logicalType": "unheard-of"}, 7, 7),
        ({"type": "long", "logicalType": "unheard-of"}, 7, 7),
        ({"type": "long", "logicalType": ["timestamp-millis"]}, 7, 7),
    ],
)  # fmt: skip
def test_a_time_is_read_in_the_unit_that_its_producer_declares(  # R16
    codec: Codec, registry: Registry, kind: Any, sent: object, read: int
) -> None:
    kinds = {"occurred_at": kind, "expires_at": ["null", kind]}
    framed = produced_by_others(registry, kinds, {**SUBMITTED, "occurred_at": sent, "expires_at": sent})
    assert codec.decode(TOPICS.inbound, framed) == {**SUBMITTED, "occurred_at": read, "expires_at": read}
    framed = produced_by_others(registry, kinds, {**SUBMITTED, "occurred_at": sent})
    assert codec.decode(TOPICS.inbound, framed)["expires_at"] is None


@pytest.mark.parametrize("kind", [{"type": "string", "logicalType": "uuid"}, "bytes"])
def test_a_text_of_another_kind_is_read_as_text(codec: Codec, registry: Registry, kind: Any) -> None:
    sent = {**SUBMITTED, "event_id": SUBMITTED["event_id"].encode() if kind == "bytes" else SUBMITTED["event_id"]}
    assert codec.decode(TOPICS.inbound, produced_by_others(registry, {"event_id": kind}, sent)) == SUBMITTED


@pytest.mark.parametrize("name", contracts.RECORD_NAMES)
def test_a_moment_is_declared_as_one(name: str) -> None:
    def fields(schema: Any) -> Iterator[dict[str, Any]]:
        if isinstance(schema, list):
            for branch in schema:
                yield from fields(branch)
        elif isinstance(schema, dict):
            yield from schema.get("fields", ())
            for inner in (*schema.get("fields", ()), schema):
                for key in ("type", "items", "values"):
                    yield from fields(inner.get(key))

    for field in fields(contracts.current_schema(name)):
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        declared = {"type": "long", "logicalType": "timestamp-micros"} in kinds
        assert declared == ("Microseconds since 1970-01-01T00:00:00Z, UTC." in field["doc"]), field["name"]


@pytest.mark.parametrize("status", ["undeliverable", "delivered"])
def test_a_bounce_or_a_delivery_is_of_the_address_alone(status: str) -> None:
    finding = CHANGE | {"purpose": "@delivery", "status": status, "subject_ref": None}
    [decision] = entry_from_change(finding).decisions
    assert (decision.purpose, decision.status) == ("@delivery", status)
    for wrong in ({"subject_ref": "ann"}, {"status": "given"}, {"status": "withdrawn"}, {"purpose": "*"}):
        with pytest.raises(InvalidRecordError):
            entry_from_change(finding | wrong)
