"""FULL_TRANSITIVE: every released schema reads what every other wrote, both ways, over all pairs.
And what schemas say to Java."""

import itertools
from io import BytesIO
from typing import Any

import fastavro
import pytest
from fastavro.utils import generate_one

from consent_contracts import schemas

HOW_TO_RELEASE = (
    "the current schema is not among the released ones: when it is to be released, copy schemas/consent_contracts/"
    "avro/*.avsc to schemas/consent_contracts/released/<next number>/"
)


def _versions(name: str) -> list[tuple[str, dict[str, Any]]]:
    return [(f"release {n}", schema) for n, schema in enumerate(schemas.released_schemas(name), 1)] + [
        ("current", schemas.current_schema(name))
    ]


@pytest.mark.parametrize("name", schemas.RECORD_NAMES)
def test_every_version_reads_every_other(name: str) -> None:
    for (writer_name, writer), (reader_name, reader) in itertools.permutations(_versions(name), 2):
        parsed_writer = fastavro.parse_schema(writer, named_schemas={})
        parsed_reader = fastavro.parse_schema(reader, named_schemas={})
        for _ in range(20):
            datum = generate_one(parsed_writer)
            body = BytesIO()
            fastavro.schemaless_writer(body, parsed_writer, datum)
            body.seek(0)
            read = fastavro.schemaless_reader(body, parsed_writer, parsed_reader)
            shared = {field["name"] for field in writer["fields"]} & {field["name"] for field in reader["fields"]}
            assert shared, f"{writer_name} and {reader_name} of {name} share no field"
            assert set(read) == {field["name"] for field in reader["fields"]}


@pytest.mark.parametrize("name", schemas.RECORD_NAMES)
def test_what_is_shipped_has_been_released(name: str) -> None:
    assert schemas.released_schemas(name)[-1] == schemas.current_schema(name), HOW_TO_RELEASE


@pytest.mark.parametrize("name", schemas.RECORD_NAMES)
def test_java_reads_every_text_and_every_key_of_a_map_as_a_string(name: str) -> None:  # R24
    assert _unmarked(schemas.current_schema(name)) == []


def _unmarked(schema: Any) -> list[Any]:
    """Types that Avro's Java library reads as Utf8, which equals no String."""
    if isinstance(schema, list):
        return [found for each in schema for found in _unmarked(each)]
    if not isinstance(schema, dict):
        return [schema] if schema == "string" else []
    if schema["type"] in ("string", "map") and schema.get("avro.java.string") != "String":
        return [schema]
    inner = [schema.get("values"), schema.get("items"), *(each["type"] for each in schema.get("fields", ()))]
    return _unmarked([each for each in inner if each is not None])
