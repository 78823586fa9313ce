"""A YAML document as plain dicts, lists and scalars, and where each of them is written.

Only what the destinations file needs: mappings with plain names, lists, scalars. No tags. An alias is the value that it
refers to, and costs nothing more, however often it is used.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from propagator.errors import FileFault

Path = Sequence[str | int]
"""Names and list indices, from the root."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """`written` is the text in the file (a group id 12345 is "12345"); `value` what YAML reads it as."""

    written: str
    value: Any


class FilePosition(NamedTuple):
    """Where a value or, in a mapping, its name begins. `field` is its path, as `destinations[0].name`."""

    line: int
    column: int
    field: str


class Document:
    """`data` holds dicts, lists and Scalars."""

    def __init__(self, root: yaml.Node) -> None:
        self._root = root
        self._errors: list[FileFault] = []
        self._converted: dict[int, Any] = {}
        self.data = self._convert(root, ())

    @property
    def errors(self) -> Sequence[FileFault]:
        """Of names, which are gone in `data`: a repeated one, one that is a list."""
        return self._errors

    def locate(self, path: Path) -> FilePosition:
        """The place of the value at `path`, or of the innermost value around it that there is."""
        node, mark, field = self._root, self._root.start_mark, ""
        for step in path:
            if isinstance(node, yaml.MappingNode) and (named := _named(node, step)) is not None:
                mark, node, field = named[0].start_mark, named[1], f"{field}.{step}" if field else str(step)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node, field = node.value[step], f"{field}[{step}]"
                mark = node.start_mark
            else:
                break
        return FilePosition(mark.line + 1, mark.column + 1, field)

    def _convert(self, node: yaml.Node, path: tuple[str | int, ...]) -> Any:
        if id(node) in self._converted:
            return self._converted[id(node)]
        if isinstance(node, yaml.SequenceNode):
            items = self._converted[id(node)] = []
            items += [self._convert(each, (*path, index)) for index, each in enumerate(node.value)]
            return items
        if isinstance(node, yaml.MappingNode):
            fields: dict[str, Any] = {}
            self._converted[id(node)] = fields
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self._error(key, path, "has a list or a mapping for a name: use plain names")
                    continue
                name = str(key.value)
                if not is_printable(name):
                    self._error(key, path, "has a control character or half a surrogate in a name: use plain names")
                    continue
                if name in fields:
                    self._error(key, (*path, name), "is given twice: remove one of the two")
                fields[name] = self._convert(value, (*path, name))
            return fields
        return Scalar(str(node.value), _value(node))

    def _error(self, node: yaml.Node, path: tuple[str | int, ...], fix: str) -> None:
        at = node.start_mark
        self._errors.append(FileFault(at.line + 1, at.column + 1, self.locate(path).field, fix))


def is_printable(text: str) -> bool:
    """Whether a text is without control characters and halves of surrogates, which an escape in quotes may write."""
    return all(unicodedata.category(character) not in ("Cc", "Cs") for character in text)


def parse(text: str) -> Document | FileFault:
    """The document, or why it is none: not YAML, or empty."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return FileFault(1, 1, "destinations", "the file is empty: declare at least one destination")
        return Document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return FileFault(line, column, "yaml", f"{error.problem or 'not YAML'}: correct the indentation or quoting")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        return FileFault(line, column, "yaml", "holds a character that YAML does not allow: remove it")
    except RecursionError:
        return FileFault(1, 1, "yaml", "is nested too deeply: declare a list of destinations")


def _named(node: yaml.MappingNode, name: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The last one of a repeated name, whose value is in `data`."""
    found = [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode) and key.value == name]
    return found[-1] if found else None


def _value(node: yaml.Node) -> Any:
    """What YAML cannot read as what it looks like or is tagged (`2026-13-45`, `!!int x`) is what was written."""
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except Exception:  # PyYAML checks little: its constructors raise whatever they run into.
        return node.value
