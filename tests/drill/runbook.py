"""The steps of docs/runbooks.md that are run: a fenced block after a line `<!-- drill: see NAME -->` or `do NAME`.

What is seen prints something to standard output, and may end with the code of a finding (1 or 2: `doctor` does, where
something is wrong); what is done ends with 0. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "runbooks.md"

_BLOCK = re.compile(r"^<!-- drill: (see|do) ([\w-]+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACEHOLDER = re.compile(r"<([A-Za-z][\w ]*)>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One block. ``changes``: it is to be done, not only seen."""

    name: str
    changes: bool
    text: str

    def filled(self, values: Mapping[str, str]) -> str:
        """The script, with a value for each `<placeholder>`; ValueError names those without one."""
        if missing := sorted(set(_PLACEHOLDER.findall(self.text)) - values.keys()):
            raise ValueError(f"step {self.name}: no value for {', '.join(missing)}")
        return _PLACEHOLDER.sub(lambda found: values[found[1]], self.text)


def steps(page: str) -> dict[str, Step]:
    """By name, each of which is there once."""
    found = [Step(name=name, changes=kind == "do", text=text) for kind, name, text in _BLOCK.findall(page)]
    by_name = {each.name: each for each in found}
    if len(by_name) != len(found):
        raise ValueError(f"a step's name is there twice: {sorted(each.name for each in found)}")
    return by_name
