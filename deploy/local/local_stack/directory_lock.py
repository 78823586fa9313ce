"""One system a directory: a second one would give the first one's processes other ports and secrets."""

import fcntl
import os
import shutil
from pathlib import Path

from local_stack.errors import DirectoryInUseError

_LOCK = "lock"


def hold(directory: Path) -> int:
    """Until this process ends, or closes the descriptor that this returns. The processes that it starts do not hold it.

    Raises DirectoryInUseError where another process holds it, and OSError where the directory cannot be written to."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DirectoryInUseError(
            f"a system runs in {directory}: stop it with Ctrl-C in its shell, or name another --directory"
        ) from None
    return descriptor


def clear(directory: Path) -> None:
    """Delete what is in a directory that this process holds."""
    for each in directory.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != _LOCK:
            each.unlink()
