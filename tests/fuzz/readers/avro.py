"""Avro data drawn from a schema."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from consent_contracts import schemas

_TEXTS = st.one_of(
    st.text(max_size=12), st.sampled_from(["acme", "sms", "newsletter", "given", "withdrawn", "*", "h1.x"])
)
_SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.one_of(st.integers(0, 5), st.integers(-(2**31), 2**31 - 1)),
    "long": st.one_of(st.integers(0, 2_000_000_000_000_000), st.integers(-(2**63), 2**63 - 1)),
    "float": st.floats(width=32),
    "double": st.floats(),
    "string": _TEXTS,
    "bytes": st.binary(max_size=40),
}


def data(schema: Any) -> st.SearchStrategy[Any]:
    """Data that fit `schema`, which has no names that refer to itself."""
    plain = schemas.without_annotations(schema)
    if isinstance(plain, list):
        return st.one_of(*map(data, plain))
    if isinstance(plain, str):
        return _SIMPLE[plain]
    kind = plain["type"]
    if kind == "record":
        return st.fixed_dictionaries({field["name"]: data(field["type"]) for field in plain["fields"]})
    if kind == "array":
        return st.lists(data(plain["items"]), max_size=3)
    if kind == "map":
        return st.dictionaries(_TEXTS, data(plain["values"]), max_size=3)
    if kind == "enum":
        return st.sampled_from(plain["symbols"])
    return data(kind)
