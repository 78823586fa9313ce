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


def data(schema: Any, named: dict[str, st.SearchStrategy[Any]] | None = None) -> st.SearchStrategy[Any]:
    """Data that fit `schema`, in which no record contains itself. `named`: the records that were seen before."""
    plain = schemas.without_annotations(schema)
    known = {} if named is None else named
    if isinstance(plain, list):
        return st.one_of(*(data(each, known) for each in plain))
    if isinstance(plain, str):
        return _SIMPLE[plain] if plain in _SIMPLE else known[plain]
    kind = plain["type"]
    if kind == "record":
        fields = {field["name"]: data(field["type"], known) for field in plain["fields"]}
        known[plain["name"]] = st.fixed_dictionaries(fields)
        return known[plain["name"]]
    if kind == "array":
        return st.lists(data(plain["items"], known), max_size=3)
    if kind == "map":
        return st.dictionaries(_TEXTS, data(plain["values"], known), max_size=3)
    if kind == "enum":
        return st.sampled_from(plain["symbols"])
    return data(kind, known)
