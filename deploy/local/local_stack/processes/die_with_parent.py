"""Runs as a program of its own between us and a server: ties the server's life to ours, then becomes it.

`python -I -S die_with_parent.py <parent pid> <uid> <gid> <program> <arguments...>`

A process that starts children has to end them, also when it is itself killed with -9 and can no longer act. On
Linux the kernel does it: a process may ask to be killed when the thread that created it ends. That request
is lost by a change of user, so it comes after; and it is too late if the parent has ended already, so the
parent's id is compared once more after asking. On other systems this is a plain exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Change the user (when `uid` is not -1), ask the kernel for the signal, exec the program."""
    parent, uid, gid = (int(value) for value in arguments[:3])
    command = arguments[3:]
    library = ctypes.CDLL(None, use_errno=True)
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        if library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - becoming the program is the point


if __name__ == "__main__":
    main(sys.argv[1:])
