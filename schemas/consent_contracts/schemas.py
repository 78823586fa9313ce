"""The Avro schemas, as shipped with this package: the current ones and every released snapshot."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

NAMESPACE = "relay.consent.v1"
RECORD_NAMES = (
    "ConsentSubmitted",
    "SubmissionResult",
    "ConsentChanged",
    "SuppressionEntry",
    "ConsentResolved",
    "ListResolved",
    "PropagationState",
    "PropagationReceipt",
    "ConsentRenewalDue",
    "DeadLetter",
)


@cache
def schema_text(record_name: str) -> str:
    """The current schema of ``record_name`` as JSON text."""
    return (files(__package__) / "avro" / f"{record_name}.avsc").read_text("utf-8")


def current_schema(record_name: str) -> dict[str, Any]:
    """The current schema of ``record_name``, decoded from JSON."""
    schema: dict[str, Any] = json.loads(schema_text(record_name))
    return schema


def released_schemas(record_name: str) -> list[dict[str, Any]]:
    """Every released version of a record's schema, oldest first; a record newer than a release is not in it."""
    snapshots = files(__package__) / "released"
    versions = sorted((v for v in snapshots.iterdir() if v.name.isdigit()), key=lambda v: int(v.name))
    found = [version / f"{record_name}.avsc" for version in versions]
    return [json.loads(path.read_text("utf-8")) for path in found if path.is_file()]


_ANNOTATIONS = frozenset({"logicalType", "avro.java.string"})
"""What a schema says of a type for programs that read it. Nothing of it is on the wire."""


def without_annotations(schema: Any) -> Any:
    """``schema`` with times as plain numbers and strings as plain strings: our code computes with numbers, and to read
    an entry with datetimes takes half as long again. ``avro.java.string`` is for Java, where a map's keys are otherwise
    of a type that equals no String."""
    if isinstance(schema, list):
        return [without_annotations(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: without_annotations(value) for name, value in schema.items() if name not in _ANNOTATIONS}
    return plain["type"] if plain.keys() == {"type"} else plain
