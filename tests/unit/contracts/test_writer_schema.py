"""Schemas and records of strangers: what fits is read as the libraries read it, the rest is refused at once (R16)."""

import json
import time
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import fastavro
import pytest
from fastavro.utils import generate_one
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_contracts import Codec, Topics, UnreadableError, schemas
from consent_contracts.topics import subject
from consent_contracts.writer_schema import parse
from tests.support.tables import each_of

TOPICS = Topics()
PROMPT_SECONDS = 30.0
"""Of a decoder that hangs, minutes would pass."""

SUBMITTED: dict[str, Any] = {
    "event_id": "e1",
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


class Registry:
    """Our own schemas, and those that a test registers for a subject."""

    def __init__(self) -> None:
        self._own = [schemas.schema_text(name) for name in schemas.RECORD_NAMES]
        self.foreign: dict[str, dict[int, str]] = {}

    def id_of(self, subject: str, schema_text: str) -> int:
        return 1 + self._own.index(schema_text)

    def schemas_of(self, subject: str) -> Mapping[int, str]:
        return self.foreign.get(subject, {})


def codec_with(text: str, *, under: str = f"{TOPICS.inbound}-value") -> Codec:
    """A codec whose registry has `text` as schema 77."""
    registry = Registry()
    registry.foreign[under] = {77: text}
    codec = Codec(registry)
    codec.prepare([TOPICS.inbound])
    return codec


def framed(body: bytes) -> bytes:
    return b"\0" + (77).to_bytes(4, "big") + body


def submitted(*extra: Any, before: bool = False, **types: Any) -> dict[str, Any]:
    """The schema of ConsentSubmitted with more fields, or with other types of its own."""
    schema = schemas.current_schema("ConsentSubmitted")
    for field in schema["fields"]:
        if field["name"] in types:
            field["type"] = types[field["name"]]
            field.pop("default", None)
    more = [{"name": f"extra{n}", "type": each} for n, each in enumerate(extra)]
    schema["fields"] = more + schema["fields"] if before else schema["fields"] + more
    return schema


def written(schema: Any, datum: Mapping[str, Any]) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas={}), datum)
    return out.getvalue()


def long(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def nested(levels: int) -> Any:
    schema: Any = "string"
    for level in range(levels):
        schema = {"type": "record", "name": f"R{level}", "fields": [{"name": "f", "type": schema}]}
    return schema


def doubled(levels: int) -> list[Any]:
    """Records of two of the one before, the first of nothing: no byte of data, and 2 to the power of `levels` reads."""
    found: list[Any] = [{"type": "record", "name": "R0", "fields": []}]
    for level in range(1, levels):
        fields = [{"name": "a", "type": f"R{level - 1}"}, {"name": "b", "type": f"R{level - 1}"}]
        found.append({"type": "record", "name": f"R{level}", "fields": fields})
    return found


RECURSIVE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
ENDLESS = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": "Node"}]}
EMPTY = {"type": "record", "name": "Empty", "fields": []}
NOTHING = {"type": "fixed", "name": "Nothing", "size": 0}
MOSTLY_NULL = {
    "type": "record",
    "name": "MostlyNull",
    "fields": [{"name": f"n{n}", "type": "null"} for n in range(500)] + [{"name": "b", "type": "boolean"}],
}

HOSTILE: dict[str, tuple[Any, str]] = {
    "recursive": (submitted(RECURSIVE), "refers to itself"),
    "recursive, in front": (submitted(RECURSIVE, before=True), "refers to itself"),
    "recursive without an end": (submitted(ENDLESS, before=True), "refers to itself"),
    "recursive by an array": (
        submitted(
            {"type": "record", "name": "Tree", "fields": [{"name": "t", "type": {"type": "array", "items": "Tree"}}]}
        ),
        "refers to itself",
    ),
    "recursive by a map of unions": (
        submitted(
            {
                "type": "record",
                "name": "Tree",
                "fields": [{"name": "t", "type": {"type": "map", "values": ["null", "Tree"]}}],
            }
        ),
        "refers to itself",
    ),
    "holds itself": (
        submitted({"type": "array", "items": "relay.consent.v1.ConsentSubmitted"}),
        "refers to itself",
    ),
    "array of nulls": (submitted({"type": "array", "items": "null"}, before=True), "no bytes"),
    "array of nulls in an object": (submitted({"type": "array", "items": {"type": "null"}}), "no bytes"),
    "array of empty records": (submitted({"type": "array", "items": EMPTY}), "no bytes"),
    "array of fixed of nothing": (submitted({"type": "array", "items": NOTHING}), "no bytes"),
    "array of mostly nulls": (submitted({"type": "array", "items": MOSTLY_NULL}), "no bytes"),
    "array of a union with mostly nulls": (submitted({"type": "array", "items": ["null", MOSTLY_NULL]}), "no bytes"),
    "map of nulls": (submitted({"type": "map", "values": "null"}), "no bytes"),
    "map of empty records": (submitted({"type": "map", "values": EMPTY}), "no bytes"),
    "doubled fourteen times": (submitted(*doubled(14)), "1000 types"),
    "deep": (submitted(nested(40)), "deep"),
    "deep by wrapping": (json.loads('{"type":' * 50 + '"string"' + "}" * 50), "deep"),
    "wide": (submitted(*["string"] * 1_001), "1000 types"),
    "moment can be a text": (submitted(occurred_at=["null", "string"]), "occurred_at can be string there"),
    "moment is a text": (submitted(occurred_at="string"), "occurred_at can be string there"),
    "moment is a record": (submitted(occurred_at=EMPTY), "occurred_at can be Empty there"),
    "moment is a float": (submitted(occurred_at="double"), "occurred_at can be double there"),
    "moment is a day": (submitted(occurred_at={"type": "int", "logicalType": "date"}), "occurred_at is a date"),
    "moment is a time of day": (
        submitted(occurred_at=["null", {"type": "long", "logicalType": "time-micros"}]),
        "occurred_at is a time-micros",
    ),
    "text can be null": (submitted(channel=["null", "string"]), "channel is null there and string here"),
    "text is an enum": (submitted(status={"type": "enum", "name": "S", "symbols": ["given"]}), "status is S there"),
    "text is an array": (submitted(channel={"type": "array", "items": "string"}), "channel is array there"),
    "evidence is another record": (
        submitted(evidence={"type": "record", "name": "Proof", "fields": []}),
        "evidence can be Proof there",
    ),
    "field missing": (
        {**submitted(), "fields": [each for each in submitted()["fields"] if each["name"] != "channel"]},
        "the field channel is missing",
    ),
    "another record": (schemas.current_schema("ConsentChanged"), "describes no relay.consent.v1.ConsentSubmitted"),
    "another namespace": ({**submitted(), "namespace": "com.example"}, "describes no relay.consent.v1"),
    "no namespace": (
        {key: each for key, each in submitted().items() if key != "namespace"},
        "describes no relay.consent.v1.ConsentSubmitted",
    ),
    "no record": ("string", "describes no record"),
    "a union": ([submitted(), "null"], "describes no record"),
    "nothing": (None, "neither a name"),
    "a number": (7, "neither a name"),
    "a type that is a number": ({"type": 7}, "neither a name"),
    "json schema": ({"type": "object", "properties": {}}, "does not define"),
    "a reference": (submitted("com.example.Address"), "does not define"),
    "empty union": (submitted([]), "union"),
    "union in a union": (submitted(["null", ["null", "string"]]), "union"),
    "no fields": ({"type": "record", "name": "relay.consent.v1.ConsentSubmitted"}, "no fields"),
    "field without name": ({**submitted(), "fields": [{"type": "string"}]}, "name"),
    "field that is none": ({**submitted(), "fields": ["string"]}, "name"),
    "field twice": ({**submitted(), "fields": [*submitted()["fields"], submitted()["fields"][0]]}, "twice"),
    "type twice": (submitted(EMPTY, EMPTY), "twice"),
    "name with control characters": ({**submitted(), "fields": [{"name": "\x1b[2J", "type": "string"}]}, "name"),
    "enum without symbols": (submitted({"type": "enum", "name": "E"}), "symbols"),
    "fixed without size": (submitted({"type": "fixed", "name": "F"}), "size"),
    "fixed of less than nothing": (submitted({"type": "fixed", "name": "F", "size": -1}), "size"),
    "array without items": (submitted({"type": "array"}), "neither a name"),
    "long": ({**submitted(), "doc": "x" * 100_000}, "longer than"),
}  # fmt: skip
BODIES = {
    "fits": written(schemas.current_schema("ConsentSubmitted"), SUBMITTED),
    "nothing": b"",
    "zeros": bytes(1_000),
    "twos": b"\2" * 1_000_000,
    "a huge count": long(2**62) * 10,
    "the lowest count": long(-(2**63)) * 10,
    "no end of a number": b"\xff" * 1_000_000,
}


@each_of("name", HOSTILE)
def test_a_schema_that_could_stop_a_reader_is_refused(name: str) -> None:  # R16
    schema, why = HOSTILE[name]
    codec, began = codec_with(json.dumps(schema)), time.monotonic()
    for body in BODIES.values():
        with pytest.raises(UnreadableError, match=f"^schema id 77 cannot be read: .*{why}.*register") as refused:
            codec.decode(TOPICS.inbound, framed(body))
        assert refused.value.reason == "wrong_schema"
        assert str(refused.value).isprintable()
    assert time.monotonic() - began < PROMPT_SECONDS


@pytest.mark.parametrize("text", ["", "{", "[" * 90_000, '{"a":' * 18_000, "1" * 90_000, "NaN", "\ud800", '"\\ud800"'])
def test_a_text_that_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        codec_with(text).decode(TOPICS.inbound, framed(BODIES["fits"]))
    assert refused.value.reason == "wrong_schema"


@pytest.mark.parametrize("under", ["crm-value", f"{TOPICS.inbound_bulk}-value", "relay.consent.v1.ConsentSubmitted"])
def test_a_schema_of_another_subject_is_unknown(under: str) -> None:  # R16
    codec = codec_with(json.dumps(submitted(occurred_at=["null", "string"])), under=under)
    with pytest.raises(UnreadableError, match=r"schema id 77 .*consent\.inbound\.v1-value") as refused:
        codec.decode(TOPICS.inbound, framed(BODIES["fits"]))
    assert refused.value.reason == "unknown_schema"


HARMLESS: dict[str, tuple[Any, Any]] = {
    "null": ("null", None),
    "boolean": ("boolean", True),
    "int": ("int", -(2**31)),
    "long": ("long", 2**63 - 1),
    "float": ("float", 1.5),
    "double": ("double", 1.5),
    "bytes": ("bytes", b"\0\xff"),
    "text": ("string", "é"),
    "text or null": (["null", "string"], "é"),
    "text or null: null": (["null", "string"], None),
    "array": ({"type": "array", "items": ["null", "string"]}, ["a", None, ""]),
    "map": ({"type": "map", "values": {"type": "array", "items": "long"}}, {"a": [1], "b": []}),
    "record": (MOSTLY_NULL, {**{f"n{n}": None for n in range(500)}, "b": True}),
    "empty record": (EMPTY, {}),
    "enum": ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B"),
    "fixed": ({"type": "fixed", "name": "F", "size": 16}, bytes(16)),
    "decimal": ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\x12"),
    "deep": (nested(10), "x"),
}


@each_of("before", [False, True])
@each_of("name", HARMLESS)
def test_a_further_field_is_passed_over(name: str, before: bool) -> None:
    kind, value = HARMLESS[name]
    for _ in range(10 if name == "deep" else 0):
        value = {"f": value}
    schema = submitted(kind, kind if isinstance(kind, str | list) else "string", before=before)
    data = written(schema, {**SUBMITTED, "extra0": value, "extra1": value if isinstance(kind, str | list) else "x"})
    assert codec_with(json.dumps(schema)).decode(TOPICS.inbound, framed(data)) == SUBMITTED


def test_a_type_in_an_object_of_its_own_is_read() -> None:
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    data = written(submitted(occurred_at=millis), {**SUBMITTED, "occurred_at": 1_767_603_600_123})
    codec = codec_with(json.dumps(submitted(occurred_at={"type": {"type": millis}})))
    read = codec.decode(TOPICS.inbound, framed(data))
    assert read == {**SUBMITTED, "occurred_at": 1_767_603_600_123_000}


@pytest.mark.parametrize(
    ("kind", "unit", "sent", "read"),
    [
        ("long", "timestamp-millis", 1_767_603_600_123, 1_767_603_600_123_000),
        (["null", "long"], "timestamp-millis", 1_767_603_600_123, 1_767_603_600_123_000),
        (["null", "long"], "timestamp-micros", 1_767_603_600_123_456, 1_767_603_600_123_456),
        ("long", "local-timestamp-nanos", 1_767_603_600_123_456_789, 1_767_603_600_123_456),
        ("long", "date", 7, 7),
        ("long", "uuid", 7, 7),
        ("long", 7, 7, 7),
    ],
)
def test_a_unit_beside_the_type_is_applied(kind: Any, unit: Any, sent: int, read: int) -> None:  # R16
    schema = submitted(occurred_at=kind)
    for field in schema["fields"]:
        if field["name"] == "occurred_at":
            field["logicalType"] = unit
    data = written(submitted(occurred_at=kind), {**SUBMITTED, "occurred_at": sent})
    assert codec_with(json.dumps(schema)).decode(TOPICS.inbound, framed(data)) == {**SUBMITTED, "occurred_at": read}


@pytest.mark.parametrize("depth", [100, 450, 900, 4_000, 20_000])
@pytest.mark.parametrize("place", ["doc", "default", "x"])
def test_what_avro_ignores_may_be_deep(place: str, depth: int) -> None:
    """Read or refused: neither ends the process."""
    schema = submitted("string")
    (schema if place != "default" else schema["fields"][-1])[place] = "@"
    text = json.dumps(schema).replace('"@"', "[" * depth + "]" * depth)
    codec, data = codec_with(text), written(submitted("string"), {**SUBMITTED, "extra0": ""})
    outcome: object
    try:
        outcome = codec.decode(TOPICS.inbound, framed(data))
    except UnreadableError as refused:
        outcome = refused.reason
    assert outcome in (SUBMITTED, "wrong_schema")


@pytest.mark.parametrize("name", schemas.RECORD_NAMES)
def test_a_schema_of_a_release_is_read_by_the_library_whatever_its_docs(name: str) -> None:
    topic = next(spec.name for spec in TOPICS.specs() if name in spec.record_names)
    [*_, released] = schemas.released_schemas(name)
    registry = Registry()
    registry.foreign[subject(topic, name)] = {77: json.dumps({**released, "doc": "another"}, indent=1)}
    codec = Codec(registry)
    datum = generate_one(fastavro.parse_schema(schemas.without_annotations(released), named_schemas={}))
    own = codec.encode(topic, datum, name)
    assert codec.decode_record(topic, framed(own[5:])) == (name, datum)


def test_a_type_that_is_used_twice_is_read() -> None:
    pair = {"type": "record", "name": "Pair", "namespace": "com.example", "fields": [{"name": "a", "type": "long"}]}
    schema = submitted(pair, "com.example.Pair")
    data = written(schema, {**SUBMITTED, "extra0": {"a": 1}, "extra1": {"a": 2}})
    assert codec_with(json.dumps(schema)).decode(TOPICS.inbound, framed(data)) == SUBMITTED


def test_evidence_of_another_namespace_and_order_is_read() -> None:
    evidence = next(each for each in submitted()["fields"] if each["name"] == "evidence")["type"][1]
    names = [each["name"] for each in evidence["fields"]]
    foreign = {**evidence, "namespace": "com.example", "fields": evidence["fields"][::-1]}
    schema = submitted(evidence=["null", foreign])
    schema["fields"].reverse()
    sent = {**SUBMITTED, "evidence": {name: name for name in names}}
    assert codec_with(json.dumps(schema)).decode(TOPICS.inbound, framed(written(schema, sent))) == sent


def test_a_field_that_the_writer_does_not_have_takes_its_default() -> None:
    schema = submitted()
    schema["fields"] = [each for each in schema["fields"] if "default" not in each]
    data = written(schema, {name: SUBMITTED[name] for name in ("event_id", "channel", "purpose", "status")})
    read = codec_with(json.dumps(schema)).decode(TOPICS.inbound, framed(data))
    assert read == {**SUBMITTED, "subject_ref": None, "occurred_at": None}


def test_an_array_may_come_in_blocks_with_their_sizes() -> None:
    schema = submitted({"type": "array", "items": "long"}, before=True)
    blocks = long(-2) + long(2) + long(1) + long(2) + long(1) + long(3) + long(0)
    codec = codec_with(json.dumps(schema))
    assert codec.decode(TOPICS.inbound, framed(blocks + BODIES["fits"])) == SUBMITTED


LARGE = {"type": "array", "items": {"type": "map", "values": ["null", nested(8)]}}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    "extra", [LARGE, {"type": "array", "items": "boolean"}, {"type": "map", "values": "int"}, "bytes"]
)
@pytest.mark.long
def test_no_record_holds_a_reader_up(body: str, extra: Any) -> None:  # R16
    codec, began = codec_with(json.dumps(submitted(extra, before=True))), time.monotonic()
    with pytest.raises(UnreadableError) as refused:
        codec.decode(TOPICS.inbound, framed(BODIES[body]))
    assert refused.value.reason in {"truncated", "undecodable"}
    assert time.monotonic() - began < PROMPT_SECONDS


def test_a_value_that_no_topic_takes_is_refused() -> None:
    with pytest.raises(UnreadableError) as refused:
        codec_with(json.dumps(submitted())).decode(TOPICS.inbound, framed(bytes(3 * 1024 * 1024)))
    assert refused.value.reason == "too_large"


@pytest.mark.long
@each_of("body", [body for body in BODIES if body != "fits"])
@each_of("name", schemas.RECORD_NAMES)
def test_no_bytes_under_our_own_schemas_hold_a_reader_up(name: str, body: str) -> None:  # R16
    topic = next(spec.name for spec in TOPICS.specs() if name in spec.record_names)
    codec, began = Codec(Registry()), time.monotonic()
    header = b"\0" + codec.schema_id(topic, name).to_bytes(4, "big")
    try:
        codec.decode_record(topic, header + BODIES[body])
    except UnreadableError as error:
        assert error.reason in {"truncated", "undecodable"}  # noqa: PT017
    assert time.monotonic() - began < PROMPT_SECONDS


def anything() -> st.SearchStrategy[Any]:
    """Schemas as a stranger writes them, most of them wrong."""
    names = st.sampled_from(["A", "B", "relay.consent.v1.Evidence", "string", "null", "long", "int", "x y"])
    return st.recursive(
        names | st.none() | st.integers(-1, 3),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
            st.fixed_dictionaries({"type": st.just("map"), "values": inner}),
            st.fixed_dictionaries(
                {"type": inner | st.just("long"), "logicalType": st.sampled_from(["uuid", "date", 1])}
            ),
            st.builds(
                lambda name, fields: {
                    "type": "record",
                    "name": name,
                    "fields": [{"name": f"f{n}", "type": each} for n, each in enumerate(fields)],
                },
                names,
                st.lists(inner, max_size=3),
            ),
        ),
        max_leaves=8,
    )


@given(extra=anything(), body=st.binary(max_size=40), before=st.booleans())
@settings(deadline=None)
def test_no_schema_and_no_bytes_raise_anything_but_unreadable(extra: Any, body: bytes, before: bool) -> None:  # R16
    codec = codec_with(json.dumps(submitted(extra, before=before)))
    for sent in (body, body + BODIES["fits"], BODIES["fits"] + body):
        try:
            datum = codec.decode(TOPICS.inbound, framed(sent))
        except UnreadableError:
            continue
        assert datum.keys() == SUBMITTED.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", schemas.RECORD_NAMES)
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_a_further_field_changes_nothing_of_what_the_library_reads(name: str, data: st.DataObject) -> None:
    """The reader for foreign schemas and the library agree on every record of ours."""
    topic = next(spec.name for spec in TOPICS.specs() if name in spec.record_names)
    schema = schemas.without_annotations(schemas.current_schema(name))
    datum = generate_one(fastavro.parse_schema(schema, named_schemas={}))
    extended = {**schema, "fields": [{"name": "extra", "type": "string"}, *schema["fields"]]}
    registry = Registry()
    registry.foreign[subject(topic, name)] = {77: json.dumps(extended)}
    codec = Codec(registry)
    sent = framed(written(extended, {**datum, "extra": data.draw(st.text(max_size=5))}))
    own = codec.encode(topic, datum, name)
    assert codec.decode_record(topic, sent) == codec.decode_record(topic, own) == (name, datum)


def test_a_namespace_of_null_is_that_of_the_record_around_it() -> None:
    extra = {"type": "record", "name": "Extra", "namespace": None, "fields": [{"name": "f", "type": "int"}]}

    found = parse(json.dumps(submitted(extra)))

    assert found.parts[-1].name == f"{schemas.NAMESPACE}.Extra"
