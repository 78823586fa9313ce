"""Records of every topic, valid and not, as far as their readers look into them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_api.domain.validation import ValidationRules, validate
from consent_api.errors import SubmissionInvalidError
from consent_api.ingest.receipts import checked
from consent_client.entry_encoding import EntryEncoding
from consent_client.errors import NotEncodableError
from consent_contracts import schemas
from consent_contracts.codec import Codec
from consent_contracts.errors import InvalidRecordError, RegistryUnavailableError, UnreadableError
from consent_contracts.topics import Topics, record_names
from consent_kafka.position import Position
from consent_kafka.resolved import ListResolved, ResolvedPartition, StalenessLimits
from lag_exporter.resolved import PartitionResolved
from propagator.desired.model import DestinationRules, Purposes
from propagator.state.planning import PlannedDestination, RecordDecoder, pending_of, plan_address
from propagator.state.rows import parse_row_key
from suppression.errors import EntryUnreadableError
from suppression.partition.serde import EntrySerde
from suppression.resolved.list_state import from_datum
from tests.fuzz.budget import fuzzed
from tests.fuzz.hostile import mutated, raw
from tests.fuzz.outcome import value_or
from tests.fuzz.readers.avro import data

TOPICS = Topics()
NOW = 1_760_000_000_000_000
TENANT, CHANNEL, ADDRESS_KEY = "acme", "sms", "h1.x"
CARRIED = [(spec.name, name) for spec in TOPICS.specs() for name in spec.record_names]
RULES = ValidationRules(channels=TOPICS.channels, default_region="FR")


class Registry:
    """Every schema of ours has its place in the list as its id; `foreign` are those after them."""

    def __init__(self) -> None:
        self.foreign: list[str] = []

    def id_of(self, subject: str, schema_text: str) -> int:
        return 1 + [schemas.schema_text(name) for name in schemas.RECORD_NAMES].index(schema_text)

    def schemas_of(self, subject: str) -> dict[int, str]:
        return dict(enumerate([*map(schemas.schema_text, schemas.RECORD_NAMES), *self.foreign], start=1))


CODEC = Codec(Registry())
CODEC.prepare(spec.name for spec in TOPICS.specs())


def encoded(topic: str, name: str) -> st.SearchStrategy[bytes]:
    """Records that fit their schema, in our framing."""
    return data(schemas.current_schema(name)).map(lambda datum: CODEC.encode(topic, datum, name))


def foreign(topic: str, name: str) -> st.SearchStrategy[bytes]:
    """What a stranger writes to the topic: valid records, damaged ones, records of another kind, and anything."""
    others = st.sampled_from(CARRIED).flatmap(lambda other: encoded(*other))
    framed = st.builds(
        lambda schema_id, body: b"\0" + schema_id.to_bytes(4, "big") + body,
        st.one_of(st.integers(0, len(schemas.RECORD_NAMES) + 1), st.integers(0, 2**32 - 1)),
        raw,
    )
    own = encoded(topic, name)
    return st.one_of(own, mutated(own), mutated(own), others, framed, raw)


@pytest.mark.parametrize(("topic", "name"), CARRIED)
def test_a_record_is_decoded_or_unreadable(topic: str, name: str) -> None:
    @fuzzed()
    @given(foreign(topic, name))
    def holds(value: bytes) -> None:
        with value_or(UnreadableError):
            found, datum = CODEC.decode_record(topic, value)
            assert found in record_names(topic)
            assert len(repr(datum)) <= 2_000 + 20 * len(value)

    holds()


class Reader(NamedTuple):
    """A reader of the records of a topic, and the errors that its callers expect."""

    topic: str
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...] = (UnreadableError, InvalidRecordError)


class Message(NamedTuple):
    key: bytes | None
    value: bytes | None
    timestamp: int = NOW // 1_000


def _submission(value: bytes) -> None:
    datum = CODEC.decode(TOPICS.inbound, value)
    tenant = datum.pop("tenant") or TENANT
    accepted = validate(datum, tenant=tenant, rules=RULES, now=NOW)
    for text in (accepted.subject_ref, accepted.event_id, accepted.address, *accepted.evidence.values()):
        assert text is None or (len(text) <= 2_000 and "\0" not in text)


def _changes(value: bytes) -> None:
    chunk = EntrySerde(CODEC, TOPICS, 0).decode_changes([Message(ADDRESS_KEY.encode(), value)])
    assert len(chunk.changes) + len(chunk.marks) + len(chunk.rejected) == 1
    assert all(len(each.error) <= 500 for each in chunk.rejected)


def _merged_entry(value: bytes) -> None:
    EntrySerde(CODEC, TOPICS, 0).decode_entry((CHANNEL, ADDRESS_KEY), value)


def _packed_entry(value: bytes) -> None:
    datum = CODEC.decode(TOPICS.suppression(CHANNEL), value)
    encoding = EntryEncoding()
    packed = encoding.encode(datum)
    assert encoding.tenant(packed) == datum["tenant"]
    for purpose in (*datum["verdicts"], "newsletter"):
        verdict = encoding.verdict(packed, purpose)
        expected = datum["verdicts"].get(purpose) or datum["verdicts"].get("*")
        assert verdict.permitted is (expected is not None and expected["permitted"])


DECODER = RecordDecoder(
    CODEC,
    list_topics={channel: TOPICS.suppression(channel) for channel in TOPICS.channels},
    state_topic=TOPICS.propagation_state("default"),
)
DESTINATION = PlannedDestination(
    rules=DestinationRules(
        destination="tool",
        tenant=TENANT,
        channel=CHANNEL,
        purposes=Purposes(targets={}, same=True),
        push_permissions=True,
        address_required=True,
        live_keys=("h1",),
    ),
    generation=0,
    fingerprint="",
)


def _plan(entry: bytes | None, delivered: bytes | None) -> None:
    planned = plan_address(
        DESTINATION,
        None if entry is None else DECODER.entry(CHANNEL, ADDRESS_KEY, entry, append_time=NOW),
        DECODER.delivered_or_unknown(delivered),
        fill_began_at=0,
        now=NOW,
    )
    with value_or(ValueError):  # As it documents, for a target that cannot be part of a key.
        pending_of(ADDRESS_KEY, planned)


def _state(value: bytes) -> None:
    DECODER.fill(value)
    _plan(None, value)


def _resolved(value: bytes) -> None:
    datum = CODEC.decode(TOPICS.resolved, value)
    partition = ResolvedPartition()
    partition.receive(ListResolved.of(datum, append_time=NOW), elapsed=0)
    topic = TOPICS.suppression(CHANNEL)
    partition.advance({topic: Position("id", 0)}, clock=NOW, elapsed=1)
    hindrance = partition.hindrance(CHANNEL, StalenessLimits(), elapsed=2)
    assert hindrance is not None or datum["resolved_at"] is not None
    PartitionResolved.of(datum, appended_at=NOW)
    from_datum(datum)


READERS = {
    "submissions": Reader(TOPICS.inbound, _submission, (UnreadableError, SubmissionInvalidError)),
    "changes": Reader(TOPICS.changes, _changes, ()),
    "entries of the merge": Reader(TOPICS.suppression(CHANNEL), _merged_entry, (EntryUnreadableError,)),
    "entries of the client": Reader(TOPICS.suppression(CHANNEL), _packed_entry, (UnreadableError, NotEncodableError)),
    "entries of the push": Reader(
        TOPICS.suppression(CHANNEL),
        lambda value: _plan(value, None),
        (UnreadableError, InvalidRecordError, RegistryUnavailableError),
    ),
    "delivered state": Reader(TOPICS.propagation_state("default"), _state),
    "resolved timestamps": Reader(TOPICS.resolved, _resolved),
    "receipts": Reader(TOPICS.receipts, lambda value: checked(CODEC.decode(TOPICS.receipts, value))),
}


def _addressed(datum: dict[str, Any]) -> dict[str, Any]:
    """The record as one of the address and channel that the readers here look for, so that they read on."""
    wanted = {"tenant": TENANT, "channel": CHANNEL, "address_key": ADDRESS_KEY}
    return {**datum, **{name: value for name, value in wanted.items() if name in datum}}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_of_a_record_takes_it_or_refuses_it(name: str) -> None:
    reader = READERS[name]
    record = record_names(reader.topic)[0]
    addressed = data(schemas.current_schema(record)).map(lambda datum: CODEC.encode(reader.topic, _addressed(datum)))

    @fuzzed()
    @given(st.one_of(addressed, mutated(addressed), foreign(reader.topic, record)))
    def holds(value: bytes) -> None:
        with value_or(*reader.errors):
            reader.read(value)

    holds()


@fuzzed()
@given(st.one_of(raw, st.binary(max_size=40), st.just(b"tool/h1.x")))
def test_the_key_of_a_row_is_read_or_is_none_of_ours(key: bytes) -> None:
    parse_row_key(key)


def _schema_nodes(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [node for each in schema for node in _schema_nodes(each)]
    if not isinstance(schema, dict):
        return []
    return [schema, *(node for each in schema.values() for node in _schema_nodes(each))]


def _nested(depth: int) -> Any:
    nested: Any = "string"
    for _ in range(depth):
        nested = {"type": "array", "items": nested}
    return nested


_TYPES: tuple[Any, ...] = (
    *({"type": "array", "items": "null"}, {"type": "map", "values": "null"}, _nested(40), _nested(400)),
    *(f"{schemas.NAMESPACE}.{name}" for name in schemas.RECORD_NAMES),  # Of itself too, which has no end.
    *([f"{schemas.NAMESPACE}.{name}", "null"] for name in schemas.RECORD_NAMES),
    *("null", "boolean", "int", "long", "float", "double", "string", "bytes", "", "nothing", None, 7, {}, []),
    *(["null", "string"], ["null"], ["string", "null", "long"], ["null", "null"]),
    *(
        {"type": "long", "logicalType": unit}
        for unit in ("timestamp-millis", "timestamp-nanos", "local-timestamp-micros")
    ),
    *({"type": "string", "logicalType": "uuid"}, {"type": "bytes", "logicalType": "decimal", "precision": 4}),
    *(
        {"type": "int", "logicalType": "date"},
        {"type": "fixed", "name": "F", "size": 16},
        {"type": "fixed", "name": "F"},
    ),
    *({"type": "enum", "name": "E", "symbols": ["a"]}, {"type": "enum", "name": "E", "symbols": []}),
    *({"type": "array", "items": "string"}, {"type": "map", "values": "long"}, {"type": "array"}),
    {"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]},
)


@st.composite
def writer_schemas(draw: Any, name: str) -> str:
    """A schema of ours as a stranger changes it: other types, names and defaults; fields gone and added."""
    schema = schemas.current_schema(name)
    types = st.sampled_from(_TYPES).map(copy.deepcopy)
    for _ in range(draw(st.integers(1, 3))):
        nodes = _schema_nodes(schema)
        node = draw(st.sampled_from(nodes))
        member = draw(st.sampled_from(["type", "name", "default", "fields", "logicalType", "aliases", "namespace"]))
        match member:
            case "type":
                node["type"] = draw(types)
            case "fields" if isinstance(node.get("fields"), list):
                extra = {"name": draw(st.sampled_from(["extra", "tenant", ""])), "type": draw(types)}
                kept = draw(st.lists(st.sampled_from(node["fields"]), max_size=20)) if node["fields"] else []
                node["fields"] = copy.deepcopy(draw(st.sampled_from([[*node["fields"], extra], kept])))
            case "default" | "fields":
                node["default"] = draw(st.sampled_from([None, "", 0, [], {}, "null"]))
            case "aliases":
                node["aliases"] = draw(st.sampled_from([["tenant"], [], "tenant", [7]]))
            case _:
                node[member] = draw(
                    st.sampled_from(["tenant", "", "ConsentSubmitted", "timestamp-millis", "a b", None])
                )
    return json.dumps(schema)


@pytest.mark.parametrize("name", schemas.RECORD_NAMES)
def test_a_record_under_a_foreign_schema_is_decoded_or_unreadable(name: str) -> None:  # R16
    topic = next(topic for topic, carried in CARRIED if carried == name)

    @fuzzed(share=2)
    @given(writer_schemas(name), data(schemas.current_schema(name)), st.data())
    def holds(schema: str, datum: Mapping[str, Any], drawn: st.DataObject) -> None:
        registry = Registry()
        registry.foreign.append(schema)
        codec = Codec(registry)
        body = CODEC.encode(topic, datum, name)[5:]
        value = b"\0" + (len(schemas.RECORD_NAMES) + 1).to_bytes(4, "big") + drawn.draw(mutated(st.just(body)))
        with value_or(UnreadableError):
            codec.decode_record(topic, value)

    holds()


def test_no_topic_is_forgotten() -> None:
    assert {name for _, name in CARRIED} == set(schemas.RECORD_NAMES)
    assert {record_names(reader.topic)[0] for reader in READERS.values()} >= {
        "ConsentSubmitted",
        "ConsentChanged",
        "SuppressionEntry",
        "ListResolved",
        "PropagationState",
        "PropagationReceipt",
    }
