"""promtool, where it is installed or Debian's package can be had; its tests are left out elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.foreign_runtimes import MISSING


def promtool(directory: Path) -> str:
    """The path of the program; what has to be unpacked for it goes to the directory."""
    if (found := shutil.which("promtool")) is not None:
        return found
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        pytest.skip(f"{MISSING}promtool")
    downloaded = subprocess.run(
        [apt, "download", "prometheus"], cwd=directory, capture_output=True, text=True, timeout=300
    )
    packages = list(directory.glob("prometheus_*.deb"))
    if not packages:
        pytest.skip(f"{MISSING}promtool; apt-get answers: {downloaded.stderr.strip()[-200:]}")
    subprocess.run([dpkg, "-x", packages[0], directory], check=True, timeout=300)
    return str(directory / "usr" / "bin" / "promtool")
