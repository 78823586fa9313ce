"""Reads records that were written with a schema which is none of ours, by the rules of Avro's schema resolution.

Clients that may register a schema choose what is compiled here, and producers what is read. So a schema is accepted
only if it is small, has no type within itself, and can be read as ours whatever a record holds; reading takes time and
memory in proportion to the bytes. Avro libraries follow a schema wherever it leads: a recursive field ends the process,
an array of nulls stops it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from consent_contracts.errors import SchemaRefusedError

MAX_SCHEMA_CHARACTERS = 100_000
MAX_DEPTH = 16
MAX_TYPES = 1_000
"""Of a schema with each use of a named type counted in full. Ours have fewer than 60."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_MAX_FULL_NAME = 400
_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_PROMOTED = {("int", "long"), ("string", "bytes"), ("bytes", "string")}
_UNITS = {
    f"{zone}timestamp-{unit}": micros
    for zone in ("", "local-")
    for unit, micros in (("millis", (1_000, 1)), ("micros", (1, 1)), ("nanos", (1, 1_000)))
}
"""Microseconds in a unit as a fraction. Local times have no zone, and are read as UTC."""
_NO_MOMENTS = frozenset({"date", "time-millis", "time-micros"})
_INT = 1 << 31
_LONG = 1 << 64


class Cursor:
    """Where reading is in a record."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def take(self, length: int) -> bytes:
        """Raises EOFError, and ValueError for a negative length."""
        if length < 0:
            raise ValueError("a negative length")
        end = self.at + length
        if end > len(self.data):
            raise EOFError
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def long(self) -> int:
        """A zigzag varint of at most 64 bits."""
        number, shift = 0, 0
        while True:
            if self.at >= len(self.data):
                raise EOFError
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        if number >= _LONG:
            raise ValueError("a number of more than 64 bits")
        return (number >> 1) ^ -(number & 1)


Read = Callable[[Cursor], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterSchema:
    """One type of a schema, with all that it is made of. `parts`: items, values, branches or the types of the fields.

    `types`: how many there are in it, with itself. `empty`: some part of it takes no byte, other than a branch.
    """

    kind: str
    name: str = ""
    logical: str | None = None
    size: int = 0
    fields: tuple[str, ...] = ()
    parts: tuple[WriterSchema, ...] = ()
    defaults: Mapping[str, Any] = field(compare=False)
    depth: int
    types: int
    empty: bool


def resolve(writer: WriterSchema, reader: WriterSchema) -> Read:
    """What reads a record of `writer` as one of `reader`, a schema of ours. Times in any unit are read as microseconds.

    Raises SchemaRefusedError. What is returned raises EOFError and ValueError, and no other.
    """
    return _resolve(writer, reader, writer.name)


def parse(text: str) -> WriterSchema:
    """The record that a schema describes. Raises SchemaRefusedError."""
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise SchemaRefusedError(f"it is longer than {MAX_SCHEMA_CHARACTERS} characters")
    try:
        found = _Parser().type(json.loads(text), namespace="", level=1)
    except (RecursionError, ValueError) as error:
        if isinstance(error, SchemaRefusedError):
            raise
        raise SchemaRefusedError("it is no JSON") from None
    if found.kind != "record":
        raise SchemaRefusedError("it describes no record")
    return found


class _Parser:
    def __init__(self) -> None:
        self._named: dict[str, WriterSchema | None] = {}
        """None: its definition has begun and not ended."""

    def type(self, schema: Any, *, namespace: str, level: int) -> WriterSchema:
        if level > MAX_DEPTH:
            raise SchemaRefusedError(f"its types are nested more than {MAX_DEPTH} deep")
        if isinstance(schema, list):
            return self._union(schema, namespace, level)
        if isinstance(schema, str):
            return self._referred(schema, namespace) if schema not in _PRIMITIVES else _primitive(schema)
        if not isinstance(schema, dict):
            raise SchemaRefusedError("a type is neither a name nor an object nor a union")
        kind = schema.get("type")
        if isinstance(kind, dict | list):
            return self.type(kind, namespace=namespace, level=level + 1)
        if isinstance(kind, str) and kind in _PRIMITIVES:
            logical = schema.get("logicalType")
            return _primitive(kind, logical if isinstance(logical, str) else None)
        if kind in ("array", "map"):
            part = self.type(schema.get("items" if kind == "array" else "values"), namespace=namespace, level=level + 1)
            if part.empty:
                # A few bytes could state any number of them.
                raise SchemaRefusedError(f"the items of an {kind} have a part that takes no bytes")
            return _composed(kind, (part,))
        if kind in ("record", "enum", "fixed"):
            return self._definition(kind, schema, namespace, level)
        if isinstance(kind, str):
            return self._referred(kind, namespace)
        raise SchemaRefusedError("a type is neither a name nor an object nor a union")

    def _union(self, branches: list[Any], namespace: str, level: int) -> WriterSchema:
        if not branches or any(isinstance(each, list) for each in branches):
            raise SchemaRefusedError("a union is empty or holds another union")
        parts = tuple(self.type(each, namespace=namespace, level=level + 1) for each in branches)
        # The index takes a byte, so a branch may take none, but its parts may not: they are not bounded by one byte.
        return _composed("union", parts, empty=any(each.empty and each.kind != "null" for each in parts))

    def _referred(self, name: str, namespace: str) -> WriterSchema:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self._named:
            raise SchemaRefusedError("it refers to a type that it does not define")
        found = self._named[full]
        if found is None:
            raise SchemaRefusedError("a type refers to itself")
        return found

    def _definition(self, kind: str, schema: Mapping[str, Any], namespace: str, level: int) -> WriterSchema:
        name, given = schema.get("name"), schema.get("namespace")
        if given is None:  # Java reads a null as none given.
            given = namespace
        if not isinstance(name, str) or not isinstance(given, str):
            raise SchemaRefusedError(f"a {kind} has no name")
        full = name if "." in name or not given else f"{given}.{name}"
        if len(full) > _MAX_FULL_NAME or not all(_NAME.fullmatch(part) for part in full.split(".")):
            raise SchemaRefusedError("the name of a type is no name of Avro, or too long")
        if full in self._named:
            raise SchemaRefusedError("a type is defined twice")
        self._named[full] = None
        if kind == "record":
            found = self._record(full, schema.get("fields"), level)
        elif kind == "enum":
            symbols = schema.get("symbols")
            if not isinstance(symbols, list) or not symbols:
                raise SchemaRefusedError("an enum has no symbols")
            found = _composed(kind, (), name=full, size=len(symbols))
        else:
            size = schema.get("size")
            if type(size) is not int or size < 0:
                raise SchemaRefusedError("a fixed has no size")
            found = _composed(kind, (), name=full, size=size, empty=size == 0)
        self._named[full] = found
        return found

    def _record(self, full: str, fields: Any, level: int) -> WriterSchema:
        if not isinstance(fields, list):
            raise SchemaRefusedError("a record has no fields")
        namespace = full.rpartition(".")[0]
        names: dict[str, WriterSchema] = {}
        defaults: dict[str, Any] = {}
        for each in fields:
            name = each.get("name") if isinstance(each, dict) else None
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name in names:
                raise SchemaRefusedError("a field's name is no name of Avro, or is given twice")
            names[name] = self.type(_with_unit(each), namespace=namespace, level=level + 1)
            if "default" in each:
                defaults[name] = each["default"]
        parts = tuple(names.values())
        empty = not parts or any(part.empty for part in parts)
        return _composed("record", parts, name=full, fields=tuple(names), defaults=defaults, empty=empty)


def _with_unit(declared: Mapping[str, Any]) -> Any:
    """The type of a field. Many producers write its unit beside it, where Avro ignores it: what they meant is clear."""
    type_, logical = declared.get("type"), declared.get("logicalType")
    if not isinstance(logical, str) or logical not in _UNITS:
        return type_
    in_unit = {"type": "long", "logicalType": logical}
    if isinstance(type_, list):
        return [in_unit if branch == "long" else branch for branch in type_]
    return in_unit if type_ == "long" else type_


def _primitive(kind: str, logical: str | None = None) -> WriterSchema:
    return WriterSchema(kind=kind, logical=logical, defaults={}, depth=1, types=1, empty=kind == "null")


def _composed(
    kind: str,
    parts: tuple[WriterSchema, ...],
    *,
    name: str = "",
    size: int = 0,
    fields: tuple[str, ...] = (),
    defaults: Mapping[str, Any] | None = None,
    empty: bool = False,
) -> WriterSchema:
    depth, types = 1 + max((each.depth for each in parts), default=0), 1 + sum(each.types for each in parts)
    if depth > MAX_DEPTH:
        raise SchemaRefusedError(f"its types are nested more than {MAX_DEPTH} deep")
    if types > MAX_TYPES:
        raise SchemaRefusedError(f"it has more than {MAX_TYPES} types")
    return WriterSchema(
        kind=kind,
        name=name,
        size=size,
        fields=fields,
        parts=parts,
        defaults=defaults or {},
        depth=depth,
        types=types,
        empty=empty,
    )


def _resolve(writer: WriterSchema, reader: WriterSchema, where: str) -> Read:
    """What reads a value of `writer` as `reader`. Refused unless each value can be, as by a registry."""
    if writer.kind == "union":
        branches = tuple(_resolve(each, reader, where) for each in writer.parts)
        return partial(_read_branch, branches)
    if reader.kind == "union":
        return _resolve(writer, _branch_for(writer, reader, where), where)
    if not _matches(writer, reader):
        raise SchemaRefusedError(f"{where} is {_described(writer)} there and {_described(reader)} here")
    if reader.kind == "record":
        return _resolve_record(writer, reader)
    if reader.kind == "array":
        return partial(_read_array, _resolve(writer.parts[0], reader.parts[0], where))
    if reader.kind == "map":
        return partial(_read_map, _resolve(writer.parts[0], reader.parts[0], where))
    if reader.logical in _UNITS and writer.logical in _NO_MOMENTS:
        raise SchemaRefusedError(f"{where} is a {writer.logical} there and a moment here")
    if reader.logical in _UNITS and writer.logical in _UNITS:
        return partial(_read_moment, _LEAVES[writer.kind], *_UNITS[writer.logical])
    return _PROMOTIONS.get((writer.kind, reader.kind), _LEAVES[writer.kind])


def _branch_for(writer: WriterSchema, reader: WriterSchema, where: str) -> WriterSchema:
    same = [each for each in reader.parts if each.kind == writer.kind and _matches(writer, each)]
    found = same or [each for each in reader.parts if _matches(writer, each)]
    if not found:
        expected = " or ".join(_described(each) for each in reader.parts)
        raise SchemaRefusedError(f"{where} can be {_described(writer)} there, and {expected} here")
    return found[0]


def _matches(writer: WriterSchema, reader: WriterSchema) -> bool:
    """As Avro, which compares records without their namespaces."""
    if writer.kind == reader.kind == "record":
        return writer.name.rpartition(".")[2] == reader.name.rpartition(".")[2]
    return writer.kind == reader.kind or (writer.kind, reader.kind) in _PROMOTED


def _resolve_record(writer: WriterSchema, reader: WriterSchema) -> Read:
    expected = dict(zip(reader.fields, reader.parts, strict=True))
    steps = tuple(
        (name, _resolve(part, expected[name], name)) if name in expected else (None, _skip(part))
        for name, part in zip(writer.fields, writer.parts, strict=True)
    )
    missing = expected.keys() - set(writer.fields)
    for name in sorted(missing - reader.defaults.keys()):
        raise SchemaRefusedError(f"the field {name} is missing")
    return partial(_read_record, steps, {name: reader.defaults[name] for name in missing})


def _described(type_: WriterSchema) -> str:
    name = type_.name.rpartition(".")[2] or type_.kind
    return f"{name} ({type_.logical})" if type_.logical in _UNITS or type_.logical in _NO_MOMENTS else name


def _skip(type_: WriterSchema) -> Read:
    """Passes over a value that ours has no field for."""
    if type_.kind == "union":
        return partial(_read_branch, tuple(_skip(each) for each in type_.parts))
    if type_.kind == "record":
        return partial(_skip_all, tuple(_skip(each) for each in type_.parts))
    if type_.kind == "array":
        return partial(_skip_blocks, _skip(type_.parts[0]))
    if type_.kind == "map":
        return partial(_skip_blocks, partial(_skip_all, (_read_bytes, _skip(type_.parts[0]))))
    if type_.kind == "enum":
        return partial(_read_symbol, type_.size)
    if type_.kind == "fixed":
        return partial(_read_fixed, type_.size)
    return _LEAVES[type_.kind]


def _read_null(_: Cursor) -> None:
    return None


def _read_boolean(cursor: Cursor) -> bool:
    byte = cursor.take(1)
    if byte > b"\1":
        raise ValueError("a boolean that is neither 0 nor 1")
    return byte == b"\1"


def _read_int(cursor: Cursor) -> int:
    number = cursor.long()
    if not -_INT <= number < _INT:
        raise ValueError("an int of more than 32 bits")
    return number


def _read_bytes(cursor: Cursor) -> bytes:
    return cursor.take(cursor.long())


def _read_text(cursor: Cursor) -> str:
    return cursor.take(cursor.long()).decode()


def _read_fixed(size: int, cursor: Cursor) -> bytes:
    return cursor.take(size)


def _read_symbol(size: int, cursor: Cursor) -> None:
    if not 0 <= cursor.long() < size:
        raise ValueError("an enum's symbol that there is not")


_LEAVES: dict[str, Read] = {
    "null": _read_null,
    "boolean": _read_boolean,
    "int": _read_int,
    "long": Cursor.long,
    "float": partial(_read_fixed, 4),
    "double": partial(_read_fixed, 8),
    "bytes": _read_bytes,
    "string": _read_text,
}
_PROMOTIONS: dict[tuple[str, str], Read] = {("bytes", "string"): _read_text, ("string", "bytes"): _read_bytes}


def _read_moment(read: Read, factor: int, divisor: int, cursor: Cursor) -> int:
    moment: int = read(cursor) * factor // divisor
    return moment


def _read_branch(branches: tuple[Read, ...], cursor: Cursor) -> Any:
    index = cursor.long()
    if not 0 <= index < len(branches):
        raise ValueError("a branch of a union that there is not")
    return branches[index](cursor)


def _read_record(
    steps: tuple[tuple[str | None, Read], ...], defaults: Mapping[str, Any], cursor: Cursor
) -> dict[str, Any]:
    datum = {name: each.copy() if isinstance(each, list | dict) else each for name, each in defaults.items()}
    for name, read in steps:
        value = read(cursor)
        if name is not None:
            datum[name] = value
    return datum


def _skip_all(steps: tuple[Read, ...], cursor: Cursor) -> None:
    for skip in steps:
        skip(cursor)


def _block(cursor: Cursor) -> int:
    """How many items come next; 0: no more."""
    count = cursor.long()
    if count < 0:
        count = -count
        if cursor.long() < 0:
            raise ValueError("a negative size of a block")
    if count > len(cursor.data) - cursor.at:
        raise EOFError  # An item takes at least a byte.
    return count


def _read_array(read: Read, cursor: Cursor) -> list[Any]:
    items: list[Any] = []
    while count := _block(cursor):
        items += [read(cursor) for _ in range(count)]
    return items


def _read_map(read: Read, cursor: Cursor) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while count := _block(cursor):
        for _ in range(count):
            name = _read_text(cursor)
            values[name] = read(cursor)
    return values


def _skip_blocks(skip: Read, cursor: Cursor) -> None:
    while count := _block(cursor):
        for _ in range(count):
            skip(cursor)
