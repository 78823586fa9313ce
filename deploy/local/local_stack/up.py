"""What `consent-relay up` does: start, tell where everything is, stay, stop."""

import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from local_stack.errors import LocalStackError
from local_stack.servers import start_servers
from local_stack.supervisor import Supervisor


def run(directory: Path, *, servers_only: bool) -> int:
    """The exit code: 0 after Ctrl-C or SIGTERM, 1 when something did not start or kept crashing."""
    leave = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        leave.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    supervisor = Supervisor(directory / "logs", report=_say)
    try:
        addresses = start_servers(supervisor, directory / "servers")
        addresses.write(directory / "servers.json")
        _say("servers are up")
        leave.wait()
    except LocalStackError as error:
        _say(str(error))
        return 1
    finally:
        supervisor.stop_all()
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
