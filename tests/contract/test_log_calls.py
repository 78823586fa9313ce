"""Logs are written one way: a module's logger is `log`, a message is a text without values, and values are fields."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(file for place in ("services", "libs", "schemas") for file in (ROOT / place).rglob("*.py"))
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


@pytest.mark.long
def test_messages_hold_no_values_and_loggers_are_called_log() -> None:
    wrong = []
    for file in FILES:
        text = file.read_text("utf-8")
        if "logging" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Assign(targets=[ast.Name(name)], value=ast.Call(func=ast.Attribute(attr="getLogger"))):
                    if name != "log":
                        wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: call it log")
                case ast.Call(func=ast.Attribute(value=ast.Name("log"), attr=level)) if level in LEVELS:
                    if len(node.args) != 1 or isinstance(node.args[0], ast.JoinedStr | ast.BinOp):
                        wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: give values as extra=")
    assert wrong == []
