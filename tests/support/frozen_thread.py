"""One thread of a running process, stopped by the kernel while the others go on, as a hang of it would be (Linux)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# In a process of its own: the parent of a traced process would take the stop for its end.
_TRACER = """
import ctypes, os, sys
libc, thread, null = ctypes.CDLL(None, use_errno=True), int(sys.argv[1]), ctypes.c_void_p(0)
def ptrace(request):
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), null, null) == -1:
        sys.exit("ptrace: " + os.strerror(ctypes.get_errno()))
ptrace(0x4206)  # PTRACE_SEIZE
ptrace(0x4207)  # PTRACE_INTERRUPT
os.waitpid(thread, 0x40000000)  # __WALL: threads too.
print("frozen", flush=True)
sys.stdin.read()
ptrace(17)  # PTRACE_DETACH
"""


@contextmanager
def frozen_thread(thread_id: int) -> Iterator[None]:
    """Until the block ends. The main thread's id is that of the process.

    OSError where the kernel does not let this user trace the process.
    """
    command = [sys.executable, "-c", _TRACER, str(thread_id)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdin is not None
        assert tracer.stdout is not None
        if tracer.stdout.readline() != "frozen\n":
            raise OSError(f"thread {thread_id} cannot be frozen")
        try:
            yield
        finally:
            tracer.stdin.close()
            tracer.wait()
