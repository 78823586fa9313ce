"""Tests reach for what callers can reach. Attributes: ruff's SLF001. Here: the names that it does not see."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PRIVATES = (
    re.compile(r"""attr\(\s*(?:"[^"]*\._[A-Za-z]|[^,()"]+,\s*"_[A-Za-z])"""),
    re.compile(r"^ *from (?!__future__)\S+ import (?:[^_\n]*[ (,])?_[A-Za-z]\w*", re.MULTILINE),
)


def test_tests_replace_and_import_no_privates() -> None:
    found = []
    for file in TESTS.rglob("*.py"):
        text = file.read_text("utf-8")
        for match in (each for pattern in PRIVATES for each in pattern.finditer(text)):
            found.append(f"{file.relative_to(TESTS)}: {match.group().strip()}")
    assert found == []
