"""Node and Go, for what documents show in these languages.

Servers, Python and the Java that comes as a package are there or the run fails. A runtime that only these tests need
may be missing anywhere, in CI too: its tests are left out, and the end of the run names them. Where it is installed
they always run.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

NODE = Path(__file__).with_name("node")
"""The packages of all tests, pinned."""
MISSING = "not installed: "
_NO_NETWORK = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|dial tcp|no such host|i/o timeout"
)


def runtime(name: str) -> str:
    """The path of a program; the test that asks for one that is missing is left out."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{MISSING}{name}")
    return found


def fetched(words: Sequence[str | Path], *, directory: Path) -> None:
    """Run what fetches packages. Without a network they are missing, as a runtime can be."""
    ended = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=600, check=False)
    if ended.returncode and _NO_NETWORK.search(ended.stderr):
        pytest.skip(f"{MISSING}packages of {Path(words[0]).name}, which answers: {ended.stderr.strip()[:200]}")
    assert ended.returncode == 0, ended.stderr


def installed_node_packages(shared: Path) -> Path:
    """A directory below which programs find the packages. `shared` is of the whole run: its workers install them once.

    Without scripts of the packages: nothing that is fetched runs at installation.
    """
    npm = runtime("npm")
    runtime("node")
    directory = shared / "node"
    directory.mkdir(exist_ok=True)
    complete = directory / "complete"
    with (shared / "node.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.copytree(NODE, directory, dirs_exist_ok=True)
            fetched([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], directory=directory)
            complete.touch()
    return directory


def left_out(reasons: Iterable[str]) -> list[str]:
    """The lines that the run ends with, of the reasons of all tests that were skipped."""
    counts = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    return [f"NOT RUN: {reason} (tests: {tests})" for reason, tests in sorted(counts.items())]
