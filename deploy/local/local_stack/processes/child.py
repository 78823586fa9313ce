"""One child process: it ends with us, is logged to a file, killed or frozen at will, restarted the same."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")

# The kernel kills a child when the *thread* that created it ends, so all are created by one thread
# that lives as long as this process.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


@dataclass(frozen=True, kw_only=True)
class SystemAccount:
    """The system account a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run. `stop_signal` asks for an orderly end; `stop_seconds` later it is SIGKILL."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    account: SystemAccount | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0


class Child:
    """A program, started and ended any number of times. Thread-safe: one lock around each change."""

    def __init__(self, program: Program, log_dir: Path, *, on_crash: Callable[["Child"], None]) -> None:
        """`on_crash` is called, on a thread of its own, when the child ends without having been asked to."""
        self.program = program
        self.name = program.name
        self.log = log_dir / f"{program.name}.log"
        self._on_crash = on_crash
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The process id of the current (or last) run."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the process exists (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def effort(self) -> float:
        """Grows while the program works: seconds of processor time and bytes of log, its children's included."""
        written = self.log.stat().st_size if self.log.exists() else 0
        try:
            process = psutil.Process(self.pid)
            times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        except psutil.Error:
            return written
        return written + sum(each.user + each.system for each in times)

    @property
    def exit_text(self) -> str:
        """How the last run ended, in words."""
        code = self._process.poll() if self._process else None
        if code is None:
            return "is running" if self._process else "was never started"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def start(self) -> None:
        """Start the program; does nothing while it runs."""
        with self._lock:
            if self.running:
                return
            self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._log_start = self.log.stat().st_size if self.log.exists() else 0
            self._process = _spawner.submit(self._spawn).result()
            self._wanted = True
            threading.Thread(target=self._watch, args=(self._process,), name=f"watch-{self.name}", daemon=True).start()

    def stop(self) -> None:
        """Ask for an orderly end, wait, and kill what is still there after `stop_seconds`."""
        self.signal(self.program.stop_signal, expect_end=True)
        if not self._gone(self.program.stop_seconds):
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when the process and the processes it had started are gone."""
        with self._lock:
            helpers = self._helpers()
            self.signal(signal.SIGKILL, expect_end=True)
            self._gone(10.0)
            # PostgreSQL's backends end by themselves when the postmaster does; its successor refuses to start before.
            psutil.wait_procs(helpers, timeout=10.0)

    def pause(self) -> None:
        """SIGSTOP: the process is frozen, with its connections open."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals, *, expect_end: bool = False) -> None:
        """Send a signal; a process that is not there any more is left alone."""
        with self._lock:
            if expect_end:
                self._wanted = False
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._process.send_signal(signal.SIGCONT)  # a frozen process would not hear of it

    def tail(self, lines: int = 25) -> str:
        """The last lines this run has written."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as stream:
            stream.seek(max(self._log_start, self.log.stat().st_size - 65_536))
            text = stream.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _helpers(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children() if self.running else []
        except psutil.Error:
            return []

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = self.program
        account = program.account or SystemAccount(uid=-1, gid=-1)
        wrapper = [
            sys.executable,
            "-I",
            "-S",
            str(DIE_WITH_PARENT),
            str(os.getpid()),
            str(account.uid),
            str(account.gid),
        ]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*wrapper, *program.command],
                env={**_neutral_environment(), **program.env},
                cwd=program.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us; we end the children in order
            )

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        with self._lock:
            crashed = self._wanted and process is self._process
            self._wanted = self._wanted and not crashed
        if crashed:
            self._on_crash(self)

    def _gone(self, seconds: float) -> bool:
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def _neutral_environment() -> dict[str, str]:
    """Ours, without the settings that were meant for us: a child gets exactly those of its program."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_RELAY_")}
