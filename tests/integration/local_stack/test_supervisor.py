"""Children: started, watched, killed, frozen, and never left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_stack.errors import StartCancelledError, StartFailedError
from local_stack.processes.child import Program
from local_stack.processes.supervisor import Supervisor
from tests.support.waiting import until

SERVE = """
import http.server, sys
print("serving", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler).serve_forever()
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)
FALLS = "import sys; print('about to fall'); sys.exit('out of luck')"


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, reports: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs", report=reports.append)
    supervisor.begin_layer()
    yield supervisor
    supervisor.stop_all()


def python(name: str, code: str, **more: float) -> Program:
    return Program(name=name, command=[sys.executable, "-c", code], **more)  # type: ignore[arg-type]


def log_says(supervisor: Supervisor, name: str, word: str) -> Callable[[], str | None]:
    return lambda: None if word in supervisor.child(name).tail() else f"no {word!r} yet"


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie that merely waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_that_ends_before_it_is_ready_is_reported_with_its_log(supervisor: Supervisor) -> None:
    with pytest.raises(StartFailedError) as failed:
        supervisor.add(python("falls", FALLS), lambda: "not ready")
    assert "exit code 1" in str(failed.value)
    assert "about to fall" in failed.value.tail
    assert "out of luck" in failed.value.tail


class Probe:
    """Answers with `why`."""

    def __init__(self) -> None:
        self.why: str | None = None

    def __call__(self) -> str | None:
        return self.why


def test_a_child_that_never_gets_ready_is_reported_with_the_probes_reason(supervisor: Supervisor) -> None:
    probe = Probe()
    supervisor.add(python("slow", SERVE), probe)
    probe.why = "still warming up"
    with pytest.raises(StartFailedError, match="is not ready after 0 s: still warming up"):
        supervisor.await_ready("slow", seconds=0.2)


def test_a_child_that_works_gets_the_time_that_it_needs(supervisor: Supervisor) -> None:
    probe = Probe()
    supervisor.add(python("busy", "while True: pass"), probe)
    probe.why = "still warming up"
    threading.Timer(6, lambda: setattr(probe, "why", None)).start()
    supervisor.await_ready("busy", idle_seconds=3)


def test_a_child_that_does_nothing_does_not(supervisor: Supervisor) -> None:
    probe = Probe()
    supervisor.add(python("idle", "import time; time.sleep(600)"), probe)
    probe.why = "still warming up"
    with pytest.raises(StartFailedError, match="still warming up"):
        supervisor.await_ready("idle", idle_seconds=1)


def test_a_crash_later_on_is_reported_with_the_tail_of_the_log(supervisor: Supervisor, reports: list[str]) -> None:
    child = supervisor.add(python("server", SERVE), log_says(supervisor, "server", "serving"))
    assert child.pid is not None
    os.kill(child.pid, signal.SIGABRT)
    until(lambda: reports)
    assert "server was ended by SIGABRT" in reports[0]
    assert "serving" in reports[0]
    assert [crash.name for crash in supervisor.crashes] == ["server"]


def test_an_end_that_was_asked_for_is_no_crash(supervisor: Supervisor) -> None:
    supervisor.add(python("server", SERVE), log_says(supervisor, "server", "serving"))
    supervisor.child("server").kill()
    supervisor.restart("server")
    supervisor.stop_all()
    assert supervisor.crashes == []


def test_a_restart_is_a_new_process_of_the_same_program(supervisor: Supervisor) -> None:
    child = supervisor.add(python("server", SERVE), log_says(supervisor, "server", "serving"))
    before = child.pid
    supervisor.restart("server")
    assert child.running
    assert child.pid != before


def test_a_frozen_child_is_stopped_too(supervisor: Supervisor) -> None:
    child = supervisor.add(python("server", SERVE), log_says(supervisor, "server", "serving"))
    child.pause()
    supervisor.stop_all()
    assert not child.running


def test_a_child_deaf_to_sigterm_is_killed_after_its_time(supervisor: Supervisor) -> None:
    child = supervisor.add(python("deaf", STUBBORN, stop_seconds=0.3), log_says(supervisor, "deaf", "deaf"))
    child.stop()
    assert child.exit_text == "was ended by SIGKILL"


def test_the_youngest_layer_ends_first(supervisor: Supervisor, tmp_path: Path) -> None:
    note = "import signal, sys, time\ndef end(*_):\n open(sys.argv[1], 'a').write(sys.argv[2] + ' ')\n sys.exit()\n"
    note += "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(60)"
    order = tmp_path / "order"
    for name in ("server", "service"):
        command = [sys.executable, "-c", note, str(order), name]
        supervisor.begin_layer()
        supervisor.add(Program(name=name, command=command), log_says(supervisor, name, "up"))
    supervisor.stop_all()
    assert order.read_text() == "service server "


def test_the_first_failure_ends_the_other_waits(supervisor: Supervisor) -> None:
    begin = time.monotonic()
    with pytest.raises(StartFailedError, match="falls"):
        supervisor.run_parallel(
            lambda: supervisor.add(python("never", SERVE), lambda: "never ready"),
            lambda: supervisor.add(python("falls", FALLS), lambda: "not ready"),
        )
    assert time.monotonic() - begin < 10
    with pytest.raises(StartCancelledError):
        supervisor.add(python("late", SERVE), lambda: None)


def test_a_child_does_not_get_our_own_settings(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", "somewhere.example.com:9092")
    code = "import os, time; print('kafka', os.environ.get('CONSENT_RELAY_KAFKA'), flush=True); time.sleep(60)"
    child = supervisor.add(python("child", code), log_says(supervisor, "child", "kafka"))
    assert "kafka None" in child.tail()


PARENT = """
import sys, threading, time
from pathlib import Path
from local_stack.processes.child import Program
from local_stack.processes.supervisor import Supervisor

supervisor = Supervisor(Path(sys.argv[1]), report=print)
supervisor.begin_layer()
program = Program(name="child", command=[sys.executable, "-c", "import time; time.sleep(60)"])
# Added by a thread that ends: its end must depend on the process, not to that thread.
thread = threading.Thread(target=supervisor.add, args=(program, lambda: None))
thread.start()
thread.join()
print(supervisor.child("child").pid, flush=True)
time.sleep(60)
"""


def test_kill_9_of_the_parent_leaves_no_child(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            time.sleep(0.3)  # long enough for a child bound to the ended thread to have been killed
            assert alive(child)
        finally:
            parent.kill()
        until(lambda: not alive(child))
