"""How a process or a command ends that cannot do its work."""

import sys
from collections.abc import Iterable
from typing import NoReturn


def exit_with_errors(lines: Iterable[str]) -> NoReturn:
    """Write each of these lines to standard error and exit with code 2."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    raise SystemExit(2)
