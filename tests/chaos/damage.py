"""What a disk does to a RocksDB directory."""

from __future__ import annotations

import random
import shutil
from pathlib import Path


def apply(how: str, directory: Path, rng: random.Random) -> str:
    """`deleted`, `truncated` (half of a file is gone) or `flipped` (one bit); what was done, for a person."""
    if how == "deleted":
        shutil.rmtree(directory, ignore_errors=True)
        return "deleted"
    files = sorted(path for path in directory.rglob("*") if path.suffix in {".sst", ".log"} and path.stat().st_size)
    if not files:
        return "nothing on disk yet"
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    return f"{how}: {path.relative_to(directory)}"
