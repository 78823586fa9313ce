"""Exceptions are in errors.py, in one tree a package, and end in Error; nothing else does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    package.parent
    for place in ("services", "libs", "schemas", "deploy/local")
    for package in (ROOT / place).glob("*/__init__.py")
)
NAMED_AS_EXCEPTION = re.compile(r"^\s*class\s+\w+[^:]*(?:Error|Exception)", re.MULTILINE)
BUILTIN = {"Exception", "ValueError", "RuntimeError", "KeyError", "TypeError", "LookupError", "OSError"}


def classes(file: Path) -> Iterator[tuple[str, set[str]]]:
    """Each class with the names of its bases, of files in which a class may be an exception."""
    text = file.read_text("utf-8")
    if NAMED_AS_EXCEPTION.search(text) is None:  # To parse all of our files takes a second.
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            yield node.name, {ast.unparse(base).rpartition(".")[2] for base in node.bases}


def is_exception(bases: set[str]) -> bool:
    return any(base in BUILTIN or base.endswith(("Error", "Exception")) for base in bases)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_exceptions_are_in_errors_py_and_nothing_else_is_named_as_one(package: Path) -> None:
    wrong = []
    for file in package.rglob("*.py"):
        for name, bases in classes(file):
            if is_exception(bases):
                if file.name != "errors.py" or not name.endswith("Error") or name.startswith("_"):
                    wrong.append(f"{file.relative_to(ROOT)}: {name} is an exception")
            elif name.endswith(("Error", "Exception")):
                wrong.append(f"{file.relative_to(ROOT)}: {name} is none")
    assert wrong == []


@pytest.mark.parametrize("package", [each for each in PACKAGES if (each / "errors.py").exists()], ids=lambda p: p.name)
def test_the_exceptions_of_a_package_are_one_tree_that_its_first_lines_show(package: Path) -> None:
    file = package / "errors.py"
    found = {name: bases for name, bases in classes(file) if is_exception(bases)}
    roots = [name for name, bases in found.items() if not bases & found.keys()]
    assert len(roots) == 1, roots
    tree = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    assert [name for name in found if name not in tree] == []
