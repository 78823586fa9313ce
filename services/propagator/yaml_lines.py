"""YAML that remembers where each value stood, so that a fault can name its line.

Only what the destinations file needs: mappings with string keys, lists, scalars. No tags, no anchors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from propagator.errors import Fault


class Located:
    """One value of the file, with its line and its dotted name; wrong types are recorded as faults."""

    def __init__(self, node: yaml.Node, name: str, faults: list[Fault]) -> None:
        self._node = node
        self._faults = faults
        self.name = name
        self.line: int = node.start_mark.line + 1

    def fault(self, cure: str) -> None:
        self._faults.append(Fault(self.line, self.name, cure))

    @property
    def value(self) -> Any:
        """The scalar as YAML reads it (str, int, float, bool or None); for anything else, the bare structure."""
        return yaml.SafeLoader("").construct_object(self._node, deep=True)

    def fields(self) -> dict[str, Located]:
        """A mapping's values by key; a fault and nothing when it is no mapping, a fault for a repeated key."""
        if not isinstance(self._node, yaml.MappingNode):
            self.fault("must be a mapping (name: value)")
            return {}
        found: dict[str, Located] = {}
        for key, node in self._node.value:
            text = str(key.value)
            child = Located(node, f"{self.name}.{text}" if self.name else text, self._faults)
            child.line = key.start_mark.line + 1
            if text in found:
                child.fault("stands twice: remove one of the two")
            found[text] = child
        return found

    def items(self) -> Iterator[Located]:
        """A list's values; a fault and nothing when it is no list."""
        if not isinstance(self._node, yaml.SequenceNode):
            self.fault("must be a list")
            return
        for index, node in enumerate(self._node.value):
            yield Located(node, f"{self.name}[{index}]", self._faults)

    @property
    def is_list(self) -> bool:
        return isinstance(self._node, yaml.SequenceNode)

    def text(self) -> str | None:
        """A scalar as it was written (a group id 12345 is "12345"); a fault when it is empty or no scalar."""
        if not isinstance(self._node, yaml.ScalarNode) or not str(self._node.value).strip():
            self.fault("must be a text that is not empty")
            return None
        return str(self._node.value)

    def number(self, *, above: float, at_most: float, whole: bool = False) -> float | None:
        value = self.value
        number = isinstance(value, int) or (isinstance(value, float) and not whole)
        if isinstance(value, bool) or not number or not above < value <= at_most:
            kind = "whole number" if whole else "number"
            self.fault(f"must be a {kind} above {above:g} and at most {at_most:g}")
            return None
        return float(value)

    def boolean(self) -> bool | None:
        if isinstance(self.value, bool):
            return bool(self.value)
        self.fault("must be true or false")
        return None

    @property
    def is_null(self) -> bool:
        return isinstance(self._node, yaml.ScalarNode) and self.value is None


def compose(text: str, faults: list[Fault]) -> Located | None:
    """The document's root; None with a fault when it is not YAML or holds nothing."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        faults.append(Fault(line, "yaml", f"{error.problem or 'not YAML'}: correct the indentation or quoting"))
        return None
    if node is None:
        faults.append(Fault(1, "destinations", "the file is empty: declare at least one destination"))
        return None
    return Located(node, "", faults)
