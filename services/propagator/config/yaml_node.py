"""YAML nodes with their line and dotted name, so that an error can name both.

Only what the destinations file needs: mappings with string keys, lists, scalars. No tags, no anchors.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

import yaml

from propagator.errors import FileFault


class YamlNode:
    """One value of the file. A wrong type is recorded as an error, and the method returns None or nothing."""

    def __init__(self, node: yaml.Node, name: str, errors: list[FileFault]) -> None:
        self._node = node
        self._errors = errors
        self.name = name
        self.line: int = node.start_mark.line + 1

    def error(self, fix: str) -> None:
        self._errors.append(FileFault(self.line, self.name, fix))

    @property
    def value(self) -> Any:
        """The scalar as YAML reads it (str, int, float, bool or None); for anything else, the bare structure.

        What YAML cannot read as what it looks like or is tagged (`2026-13-45`, `!!int x`) is what was written.
        """
        try:
            return yaml.SafeLoader("").construct_object(self._node, deep=True)
        except Exception:  # PyYAML checks little: its constructors raise whatever they run into.
            return self._node.value

    def fields(self) -> dict[str, YamlNode]:
        """A mapping's values by key; a repeated key is an error."""
        if not isinstance(self._node, yaml.MappingNode):
            self.error("must be a mapping (name: value)")
            return {}
        found: dict[str, YamlNode] = {}
        for key, node in self._node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.error("has a list or a mapping for a name: use plain names")
                continue
            text = str(key.value)
            child = YamlNode(node, f"{self.name}.{text}" if self.name else text, self._errors)
            child.line = key.start_mark.line + 1
            if text in found:
                child.error("is given twice: remove one of the two")
            found[text] = child
        return found

    def items(self) -> Iterator[YamlNode]:
        """A list's values."""
        if not isinstance(self._node, yaml.SequenceNode):
            self.error("must be a list")
            return
        for index, node in enumerate(self._node.value):
            yield YamlNode(node, f"{self.name}[{index}]", self._errors)

    @property
    def is_list(self) -> bool:
        return isinstance(self._node, yaml.SequenceNode)

    def text(self) -> str | None:
        """A scalar as it was written (a group id 12345 is "12345"), not empty."""
        if not isinstance(self._node, yaml.ScalarNode) or not str(self._node.value).strip():
            self.error("must be a text that is not empty")
            return None
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in self._node.value):
            self.error("must be a text without control characters and halves of surrogates")
            return None
        return str(self._node.value)

    def number(self, *, at_least: float | None = None, at_most: float, whole: bool = False) -> float | None:
        """`at_least` None: above zero."""
        value = self.value
        is_number = not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and not whole))
        if not (is_number and value <= at_most and (value > 0 if at_least is None else value >= at_least)):
            lower = "above 0" if at_least is None else f"of at least {at_least:g}"
            self.error(f"must be a {'whole number' if whole else 'number'} {lower} and at most {at_most:g}")
            return None
        return float(value)

    def boolean(self) -> bool | None:
        if isinstance(self.value, bool):
            return bool(self.value)
        self.error("must be true or false")
        return None

    @property
    def is_null(self) -> bool:
        return isinstance(self._node, yaml.ScalarNode) and self.value is None


def parse(text: str, errors: list[FileFault]) -> YamlNode | None:
    """The document's root; None, and an error, when it is not YAML or is empty."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        errors.append(FileFault(line, "yaml", f"{error.problem or 'not YAML'}: correct the indentation or quoting"))
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        errors.append(FileFault(line, "yaml", "holds a character that YAML does not allow: remove it"))
        return None
    except RecursionError:
        errors.append(FileFault(1, "yaml", "is nested too deeply: declare a list of destinations"))
        return None
    if node is None:
        errors.append(FileFault(1, "destinations", "the file is empty: declare at least one destination"))
        return None
    return YamlNode(node, "", errors)
