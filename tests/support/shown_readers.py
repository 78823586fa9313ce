"""The readers that docs/reading-the-list.md shows, for tests that run them unchanged."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from tests.support.foreign_runtimes import runtime

PAGE = Path(__file__).parents[2] / "docs" / "reading-the-list.md"


def shown(language: str, part: str) -> str:
    """The one piece of code in `language` that has `part` in it."""
    found = [code for code in re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.S) if part in code]
    assert len(found) == 1, f"{PAGE.name} is to show {part} in {language} once"
    return str(found[0])


def run_python_reader(directory: Path, *, kafka: str, registry: str, topic: str, purpose: str) -> dict[str, str]:
    """What it prints, by address key. It has nothing of ours but what is installed beside it."""
    file = directory / "reader.py"
    # Unchanged, but for the group: a second run under the same name would begin where the first one ended.
    file.write_text(shown("python", "Consumer(").replace('"my-tool"', f'"my-tool-{uuid4().hex[:8]}"'))
    ended = subprocess.run(
        [sys.executable, "-I", "-W", "error", str(file), kafka, registry, topic, purpose],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(line.split(" ", 1) for line in ended.stdout.splitlines())


def run_node_reader(directory: Path, *, kafka: str, registry: str, topic: str, purpose: str) -> dict[str, str]:
    """The same, in Node, of a directory with the packages that the reader requires."""
    file = directory / "reader.js"
    file.write_text(shown("js", "client.consumer("), encoding="utf-8")
    ended = subprocess.run(
        [runtime("node"), str(file), kafka, registry, topic, purpose],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    # kafkajs logs to standard output, in JSON.
    return dict(line.split(" ", 1) for line in ended.stdout.splitlines() if not line.startswith("{"))
