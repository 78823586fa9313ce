"""Prometheus and promtool, installed or from Debian's package; where neither can be had their tests are left out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.foreign_runtimes import MISSING


def unpacked(program: str, directory: Path) -> str:
    """The path of `prometheus` or `promtool`; what has to be unpacked for it goes to the directory."""
    if (found := shutil.which(program)) is not None:
        return found
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        pytest.skip(f"{MISSING}{program}")
    downloaded = subprocess.run(
        [apt, "download", "prometheus"], cwd=directory, capture_output=True, text=True, timeout=300, check=False
    )
    packages = list(directory.glob("prometheus_*.deb"))
    if not packages:
        pytest.skip(f"{MISSING}{program}; apt-get answers: {downloaded.stderr.strip()[-200:]}")
    subprocess.run([dpkg, "-x", packages[0], directory], check=True, timeout=300)
    return str(directory / "usr" / "bin" / program)


def selectors(expression: str) -> list[tuple[str, str]]:
    """The metrics of ours that an expression asks for, each with what is between its braces."""
    return re.findall(r"(?<![:\w])(consent_relay_\w+)(?:\{([^}]*)\})?", expression)


def exported(page: str) -> dict[str, set[str]]:
    """Of docs/metrics.md: each series that the processes export, with its labels."""
    found: dict[str, set[str]] = {}
    for row in re.finditer(r"^\| `(consent_relay_\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE):
        labels = set(re.findall(r"`(\w+)`", row[3]))
        names = [row[1], *(row[1] + suffix for suffix in ("_bucket", "_count", "_sum") if row[2] == "histogram")]
        found |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in names}
    return found
