"""How a process or a command ends that cannot do its work."""

import os
import sys
from collections.abc import Iterable
from typing import NoReturn

from consent_service import spans


def exit_with_errors(lines: Iterable[str]) -> NoReturn:
    """Write each of these lines to standard error and exit with code 2."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    raise SystemExit(2)


def end(code: int) -> NoReturn:
    """End a process that has closed all it had, and send its last spans. Not by the interpreter's own end, which
    destroys one client of Kafka after the other: on a busy machine a second, in which a successor could have begun."""
    spans.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
