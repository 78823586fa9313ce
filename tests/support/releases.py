"""The code of the release before this one, from the clone's own history."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
LISTED = Path(__file__).with_name("releases.json")
"""The commit of each release, oldest first: for clones that have no tags."""
PACKAGES = ("services", "libs", "schemas", "deploy/local")


def newest_release() -> tuple[str, str]:
    """Its name and its commit: the newest tag that HEAD contains, else the last one that is listed.

    RuntimeError where the clone does not have the commit."""
    described = _git("describe", "--tags", "--abbrev=0", "--match=v[0-9]*", check=False)
    name, commit = (described.stdout.strip(),) * 2 if not described.returncode else _listed()
    found = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", check=False)
    if found.returncode:
        raise RuntimeError(
            f"release {name} ({commit}) is not in this clone, whose history is cut off: git fetch --unshallow --tags"
        )
    return name, found.stdout.strip()


def unpack(commit: str, directory: Path) -> dict[str, str]:
    """Its packages, into `directory`. The environment in which Python imports them, and not those of the tree."""
    archive = subprocess.run(["git", "archive", commit, *PACKAGES], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(directory, filter="data")
    return {"PYTHONPATH": os.pathsep.join(str(directory / each) for each in PACKAGES)}


def _listed() -> tuple[str, str]:
    listed: dict[str, str] = json.loads(LISTED.read_text())
    return list(listed.items())[-1]


def _git(*arguments: str, check: bool) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=check)
