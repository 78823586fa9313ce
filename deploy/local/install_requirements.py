"""`python install_requirements.py FILE`: pip installs the requirements, with a bar; its own words where it fails.

Runs before anything is installed, so it has the standard library alone.
"""

import re
import subprocess
import sys
from pathlib import Path

_REQUIREMENT = re.compile(r"^[A-Za-z0-9][^ ;=]*==", re.MULTILINE)
_WIDTH = 40


def main(requirements: Path) -> int:
    """pip's exit code."""
    total = len(_REQUIREMENT.findall(requirements.read_text("utf-8")))
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    process = subprocess.Popen(
        [*command, "--require-hashes", "-r", str(requirements)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    written: list[str] = []
    done = 0
    assert process.stdout is not None
    for line in process.stdout:
        written.append(line)
        if line.startswith(("Collecting ", "Requirement already satisfied", "Ignoring ")):
            done += 1
            _show(done, total, "downloading")
        elif line.startswith("Installing collected packages"):
            _show(total, total, "installing: a minute or so")
    code = process.wait()
    if sys.stdout.isatty():
        print()
    if code:
        sys.stderr.write("".join(written[-40:]))
        print("pip has failed: what it wrote last is above. The same command goes on from there.", file=sys.stderr)
    return code


def _show(done: int, total: int, what: str) -> None:
    """In place on a terminal; elsewhere a line for each fifth."""
    done = min(done, total)
    filled = _WIDTH * done // max(total, 1)
    text = f"  [{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total} {what}"
    if sys.stdout.isatty():
        print(f"\r{text:<79}", end="", flush=True)
    elif done % max(total // 5, 1) == 0:
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
