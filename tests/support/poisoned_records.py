"""Records by which a stranger, who may register schemas and produce, tries to end or stop what reads a topic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from io import BytesIO
from typing import Any
from uuid import uuid4

import fastavro
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from consent_contracts import schemas
from consent_contracts.topics import subject

YEAR_11476 = 300_000_000_000_000_000
UNKNOWN_ID = 2_000_000_000
_RECURSIVE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"], "default": None}]}
_NULLS = {"type": "array", "items": "null"}


def poisoned(registry_url: str, topic: str, record_name: str, datum: Mapping[str, Any], time_field: str) -> list[bytes]:
    """Values for `topic`, each of another kind; `datum` is one that fits, `time_field` the name of one of its times."""
    current = schemas.current_schema(record_name)
    own, foreign = subject(topic, record_name), f"stranger-{uuid4().hex}-value"
    body = _written(current, datum)
    text_as_time = {
        **current,
        "fields": [
            {"name": each["name"], "type": ["null", "string"], "default": None} if each["name"] == time_field else each
            for each in current["fields"]
        ],
    }
    as_text = _written(text_as_time, {**datum, time_field: "yesterday"})
    with closing(SchemaRegistryClient({"url": registry_url})) as registry:

        def framed(under: str, schema: Mapping[str, Any], content: bytes) -> bytes:
            schema_id = registry.register_schema(under, Schema(json.dumps(schema), "AVRO"))
            return b"\0" + schema_id.to_bytes(4, "big") + content

        recursive = _extended(current, "first", ["null", _RECURSIVE], None)
        nulls = _extended(current, "second", _NULLS, [])
        return [
            framed(foreign, text_as_time, as_text),
            framed(own, recursive, b"\2" * 500_000),
            framed(foreign, {**recursive, "doc": "of another subject"}, b"\2" * 500_000),
            framed(own, nulls, _LARGEST + b"\0" + body),
            framed(foreign, {**nulls, "doc": "of another subject"}, _LARGEST + b"\0" + body),
            b"\0" + UNKNOWN_ID.to_bytes(4, "big") + body,
            b"\0" + UNKNOWN_ID.to_bytes(4, "big"),
        ]


_LARGEST = b"\xfe" + b"\xff" * 8 + b"\x01"
"""The count 2^63 - 1."""


def _extended(schema: Mapping[str, Any], name: str, kind: Any, default: Any) -> dict[str, Any]:
    """With a field in front that no reader has to have."""
    return {**schema, "fields": [{"name": name, "type": kind, "default": default}, *schema["fields"]]}


def _written(schema: Mapping[str, Any], datum: Mapping[str, Any]) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(schema), named_schemas={}), datum)
    return out.getvalue()
