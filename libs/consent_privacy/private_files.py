"""Files that hold secrets, or what only their owner is to read."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def replace(path: Path, text: str) -> None:
    """Write `path` as a whole, so that a reader never sees half of it. A new file has mode 0600.
    One that is replaced keeps its mode and, as far as this user may change it, its owner: its readers go on reading
    it. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            before = path.stat()
            with suppress(PermissionError):
                os.chown(beside, before.st_uid, before.st_gid)
            beside.chmod(stat.S_IMODE(before.st_mode))
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def cure(path: Path) -> str | None:
    """None where no other user can read or change the file, or the command that makes it so. The group may
    read a file of root, which is how a secret is mounted for a process that is not root (as PostgreSQL permits of its
    keys). Raises OSError."""
    found = path.stat()
    forbidden = OPEN_TO_OTHERS
    if found.st_uid == 0 and os.geteuid() != 0:
        forbidden &= ~stat.S_IRGRP
    return f"chmod {stat.S_IMODE(found.st_mode) & ~forbidden:o} {path}" if found.st_mode & forbidden else None
