"""Programs of Debian's packages: installed, or unpacked for a test; where neither can be had the test is left out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.foreign_runtimes import MISSING


def unpacked(program: str, *, package: str, directory: Path) -> str:
    """The path of the program; what has to be unpacked for it goes to the directory."""
    if (found := shutil.which(program)) is not None:
        return found
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        pytest.skip(f"{MISSING}{program}")
    downloaded = subprocess.run(
        [apt, "download", package], cwd=directory, capture_output=True, text=True, timeout=300, check=False
    )
    packages = list(directory.glob(f"{package}_*.deb"))
    if not packages:
        pytest.skip(f"{MISSING}{program}; apt-get answers: {downloaded.stderr.strip()[-200:]}")
    subprocess.run([dpkg, "-x", packages[0], directory], check=True, timeout=300)
    [path] = [each for folder in ("bin", "sbin") if (each := directory / "usr" / folder / program).exists()]
    return str(path)
