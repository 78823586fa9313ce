"""Where in a JSON body a member is, and what it may be: for errors about bodies of another shape. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

_STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[([0-9]+)\]", re.ASCII)
_MOST = 40
"""Values or members that a cure lists."""


def pointer_of(path: str) -> str:
    """The JSON pointer (RFC 6901) of a path as msgspec writes it after `$`, such as `.addresses[3].channel`; up to
    where it names no member of ours."""
    steps: list[str] = []
    at = 0
    while (step := _STEP.match(path, at)) is not None:
        steps.append(step[1] or step[2])
        at = step.end()
    return "".join(f"/{each}" for each in steps)


def values_cure(expected: object, pointer: str) -> str | None:
    """Which values the member at `pointer` of a body of the type `expected` may have; None where any of its type."""
    values = [str(value) for kind in _at(expected, pointer) for value in _values(kind)]
    return f"Send one of {', '.join(values)}." if 0 < len(values) <= _MOST else None


def members_cure(expected: object, pointer: str) -> str | None:
    """Which members the object at `pointer` may have."""
    names = [
        each.encode_name
        for kind in _at(expected, pointer)
        if isinstance(kind, msgspec.inspect.StructType)
        for each in kind.fields
    ]
    return f"Leave it out; known here are {', '.join(names)}." if 0 < len(names) <= _MOST else None


def _at(expected: object, pointer: str) -> list[Any]:
    """The types of what is there: several where a union allows them."""
    found = list(_alternatives(_type_info(expected)))
    for step in pointer.split("/")[1:]:
        found = [each for kind in found for within in _within(kind, step) for each in _alternatives(within)]
    return found


@cache
def _type_info(expected: object) -> Any:
    return msgspec.inspect.type_info(expected)


def _alternatives(kind: Any) -> Iterator[Any]:
    if isinstance(kind, msgspec.inspect.Metadata):
        yield from _alternatives(kind.type)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _alternatives(each)
    else:
        yield kind


def _within(kind: Any, step: str) -> Iterator[Any]:
    if isinstance(kind, msgspec.inspect.StructType):
        yield from (each.type for each in kind.fields if each.encode_name == step)
    elif isinstance(kind, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
        yield kind.item_type


def _values(kind: Any) -> Iterator[object]:
    if isinstance(kind, msgspec.inspect.LiteralType):
        yield from kind.values
    elif isinstance(kind, msgspec.inspect.EnumType):
        yield from (each.value for each in kind.cls)
