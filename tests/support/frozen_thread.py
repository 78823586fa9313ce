"""One thread of a running process, stopped by the kernel while the others go on, as a hang of it would be (Linux)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000
"""waitpid: threads too."""
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def frozen_thread(thread_id: int) -> Iterator[None]:
    """Until the block ends; both ends in one thread of the caller. The main thread's id is that of the process.

    OSError where the kernel does not let this user trace the process.
    """
    _ptrace(_SEIZE, thread_id)
    try:
        _ptrace(_INTERRUPT, thread_id)
        os.waitpid(thread_id, _WALL)
        yield
    finally:
        _ptrace(_DETACH, thread_id)


def _ptrace(request: int, thread_id: int) -> None:
    null = ctypes.c_void_p(0)
    if _libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread_id), null, null) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")
