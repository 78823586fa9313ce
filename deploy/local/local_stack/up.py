"""What `consent-relay up` does: start, print where everything is, restart what crashes, stop at Ctrl-C."""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from local_stack.errors import LocalStackError, StartCancelledError
from local_stack.processes.supervisor import Supervisor
from local_stack.servers import Servers
from local_stack.stack import Stack
from local_stack.status_link import status_link

CRASHES, WITHIN_SECONDS = 5, 60.0


def run(directory: Path) -> int:
    """The whole system, until Ctrl-C or SIGTERM: then 0. It is 1 when it did not start, or kept crashing."""
    begin = time.monotonic()
    stack = Stack(directory, report=_say)
    with stop_on_signal(stack.supervisor) as request:
        _say("starting Kafka, the schema registry, PostgreSQL and the services")
        endpoints = stack.start()
        _say(f"ready after {time.monotonic() - begin:.0f} s\n\n{endpoints.table()}\n")
        _say(f"API key, every scope:  {endpoints.api_key}\nAPI key for the gate:  {endpoints.check_key}\n")
        _say(f"What happens now, in a browser (the link opens once): {status_link(endpoints)}")
        _say(f"All of it as variables, in another shell:  {_env_command(directory)}")
        _say(f"For programs: {directory / 'endpoints.json'}")
        _say("To stop: Ctrl-C here, or SIGTERM to this process. The data stay for the next start.")
        try:
            return _supervise(stack, request)
        finally:
            stack.withdraw()
    return request.code


def run_servers(directory: Path) -> int:
    """The servers alone; their addresses in servers.json are what the tests can be pointed at."""
    supervisor = Supervisor(directory / "logs", report=_say)
    with stop_on_signal(supervisor) as request:
        file = directory / "servers.json"
        Servers(supervisor, directory / "servers").start().write(file)
        _say(f"Kafka, the schema registry and PostgreSQL are up; addresses in {file}. Ctrl-C stops them.")
        request.asked.wait()
    return request.code


class StopRequest:
    """Whether a signal or a failure asked us to stop, and the exit code."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.code = 0


@contextmanager
def stop_on_signal(supervisor: Supervisor) -> Iterator[StopRequest]:
    """Whatever ends the block (Ctrl-C, SIGTERM, a failure, an exception), the children are stopped."""
    request = StopRequest()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if not request.asked.is_set():
            request.asked.set()
            _say("stopping everything")
            supervisor.cancel_start()
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    except (KeyboardInterrupt, StartCancelledError):
        pass
    except LocalStackError as error:
        _say(str(error))
        request.code = 1
    finally:
        asked = request.asked.is_set()
        request.asked.set()
        supervisor.stop_all()
        if asked:
            _say("everything is stopped")
        for number, handler in previous.items():
            signal.signal(number, handler)


def _supervise(stack: Stack, request: StopRequest) -> int:
    """Start again what crashes, as an orchestrator would, but not for ever."""
    crashes: list[float] = []
    while not request.asked.is_set():
        stack.supervisor.crashed.wait()
        stack.supervisor.crashed.clear()
        for crash in stack.crashes[len(crashes) :]:
            crashes.append(time.monotonic())
            if len(crashes) >= CRASHES and crashes[-1] - crashes[-CRASHES] < WITHIN_SECONDS:
                _say(f"{CRASHES} crashes within {WITHIN_SECONDS:.0f} s: stopping everything")
                return 1
            stack.restart(crash.name)
            _say(f"{crash.name} is back")
    return 0


def _env_command(directory: Path) -> str:
    """As it works in any directory."""
    program = Path(sys.executable).with_name("consent-relay")
    return f'eval "$({shlex.join([str(program), "env", "--directory", str(directory)])})"'


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
