"""consent-relay-client as a tool has it that has nothing else of ours: built, with its dependencies and no others."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

SOURCE = Path(__file__).parents[1] / "clients" / "python"
_BUILD = "import sys, hatchling.build as build; print(getattr(build, 'build_' + sys.argv[1])(sys.argv[2]))"
_RUN = """
import runpy, sys
_, site, *sys.argv = sys.argv
sys.path.insert(0, site)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def build(kind: str, source: Path, target: Path) -> Path:
    """`kind`: sdist or wheel."""
    words = [sys.executable, "-I", "-c", _BUILD, kind, str(target)]
    ended = subprocess.run(words, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return target / ended.stdout.split()[-1]


def unpacked_sdist(directory: Path) -> Path:
    """The folder that `pip install` of the sdist would build from."""
    with tarfile.open(build("sdist", SOURCE, directory)) as archive:
        archive.extractall(directory, filter="data")
    return next(each for each in directory.iterdir() if each.is_dir())


def installed(wheel: Path, directory: Path) -> Path:
    """A folder to import from, with the wheel, what it requires, what that requires, and nothing else."""
    directory.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    [metadata] = directory.glob("*.dist-info")
    for required in _closure(Distribution.at(metadata)):
        for top in {Path(file).parts[0] for file in required.files or () if not str(file).startswith("..")}:
            if top != "__pycache__" and not (directory / top).exists():
                (directory / top).symlink_to(str(required.locate_file(top)))
    return directory


def run(directory: Path, file: Path, *words: str | Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Python runs `file` with this folder and the standard library, and nothing else."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", _RUN, str(directory), str(file), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def _closure(root: Distribution) -> Iterator[Distribution]:
    waiting, seen = [(root, frozenset[str]())], set[tuple[str, frozenset[str]]]()
    while waiting:
        found, extras = waiting.pop()
        for text in found.requires or ():
            requirement = Requirement(text)
            wanted = (requirement.name.lower(), frozenset(requirement.extras))
            applies = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            )
            if applies and wanted not in seen:
                seen.add(wanted)
                required = distribution(requirement.name)
                yield required
                waiting.append((required, wanted[1]))
