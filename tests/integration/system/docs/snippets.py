"""The snippets of README.md and docs: a fenced block after a line `<!-- snippet: name -->`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[4]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ANYTHING = "..."
"""In an answer that is shown: any value, any further members, or any further items."""

_BLOCK = re.compile(r"^<!-- snippet: ([\w-]+) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TEXT_OR_DOTS = re.compile(r'"(?:[^"\\]|\\.)*"|\.\.\.')
# What differs from run to run: ids, times, keyed hashes, links of either kind.
_VARYING = (
    re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    re.compile(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
    re.compile(r"h\d+\.[\w-]{43}"),
    re.compile(r"[0-9a-f]{8}\.\.\.|[0-9a-f]{32}"),
    *(re.compile(rf"http://127\.0\.0\.1:\d+/{kind}/[\w-]+(\.\.\.)?") for kind in "pu"),
)
_MOMENT_OR_TRACE = re.compile(r"\d{4}-\d\d-\d\d|(?:1er|\d{1,2}) [^\W\d]+ 20\d\d|\d\d:\d\d:\d\d|\b[0-9a-f]{32}\b")


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """One block, by the language of its fence."""

    name: str
    page: str
    language: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Call:
    """One command of a `console` block, and the output that is shown under it ("" where there is none)."""

    command: str
    output: str


def snippets(*languages: str) -> list[Snippet]:
    """Those in these languages, in the order of the pages and of each page. Each name is there once."""
    found = [
        Snippet(name=name, page=page.name, language=language, text=text)
        for page in PAGES
        for name, language, text in _BLOCK.findall(page.read_text("utf-8"))
    ]
    names = [each.name for each in found]
    assert len(names) == len(set(names)), sorted(names)
    return [each for each in found if each.language in languages]


def calls(console: str) -> Iterator[Call]:
    """The commands after `$ `, over as many lines as their quotes and backslashes ask for."""
    lines = iter([*console.splitlines(), "$ "])
    command, output = "", []
    for line in lines:
        if not line.startswith("$ "):
            output.append(line)
            continue
        if command:
            yield Call(command=command, output="\n".join(output))
        command, output = line.removeprefix("$ "), []
        while command.endswith("\\") or _open(command):
            command += "\n" + next(lines)


def _open(command: str) -> bool:
    """Whether a quote is not closed."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False


def shown_json(text: str) -> Any:
    """The answer as shown, with ANYTHING where it shows `...`."""

    def quoted(found: re.Match[str]) -> str:
        if found[0] != ANYTHING:
            return found[0]
        before = text[: found.start()].rstrip()
        inside_object = _innermost(before) == "{"
        return f'"{ANYTHING}": "{ANYTHING}"' if inside_object and before[-1] in "{," else f'"{ANYTHING}"'

    return json.loads(_TEXT_OR_DOTS.sub(quoted, text))


def _innermost(text: str) -> str:
    """The bracket that is open at the end of the text."""
    opened: list[str] = []
    for each in _TEXT_OR_DOTS.sub("", text):
        if each in "{[":
            opened.append(each)
        elif each in "}]":
            opened.pop()
    return opened[-1] if opened else ""


def difference(shown: Any, answered: Any, at: str = "") -> str | None:
    """Where the answer is another than the one shown, or None. What varies from run to run only has to look alike."""
    if shown == ANYTHING:
        return None
    if isinstance(shown, dict) and isinstance(answered, dict):
        named = {name for name in shown if name != ANYTHING}
        if missing := named - answered.keys():
            return f"{at}: not answered: {sorted(missing)}"
        if ANYTHING not in shown and (more := answered.keys() - named):
            return f"{at}: not shown: {sorted(more)}"
        found = (difference(shown[name], answered[name], f"{at}/{name}") for name in sorted(named))
        return next(filter(None, found), None)
    if isinstance(shown, list) and isinstance(answered, list):
        some = [each for each in shown if each != ANYTHING]
        if len(answered) < len(some) or (len(some) == len(shown) and len(answered) != len(shown)):
            return f"{at}: {len(answered)} items"
        found = (
            difference(one, other, f"{at}/{n}") for n, (one, other) in enumerate(zip(some, answered, strict=False))
        )
        return next(filter(None, found), None)
    if isinstance(shown, str) and isinstance(answered, str):
        if shown == answered or any(each.fullmatch(shown) and each.fullmatch(answered) for each in _VARYING):
            return None
        return f"{at}: {answered!r}"
    return None if shown == answered else f"{at}: {answered!r}"


def same_text(shown: str, printed: str) -> bool:
    """Whether the words are the same, whatever the lines, dates, times and ids of traces."""
    return _MOMENT_OR_TRACE.sub("-", shown).split() == _MOMENT_OR_TRACE.sub("-", printed).split()
