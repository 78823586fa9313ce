"""An append-only file of what the sandboxed providers were informed of, so that they remember over a restart."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from provider_sandbox.provider_state import State

_Line = tuple[str, str, str, State, int]


class FileChangeLog:
    """One JSON array a line, written unbuffered: what was answered survives a kill -9 of the sandbox."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, account: str, addresses: Sequence[str], target: str, state: State, at: int) -> None:
        lines = [(account, address, target, state, at) for address in addresses]
        os.write(self._descriptor, msgspec.json.Encoder().encode_lines(lines))

    def read(self) -> Iterator[_Line]:
        """Every whole line; a last line without its end was never answered for, and is cut off."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        os.ftruncate(self._descriptor, whole)
        decoder = msgspec.json.Decoder(_Line)
        for line in data[:whole].splitlines():
            yield decoder.decode(line)

    def clear(self) -> None:
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        os.close(self._descriptor)
