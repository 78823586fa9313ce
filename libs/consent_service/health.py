"""/metrics, /startupz, /healthz and /readyz of a process, served by a thread of their own, so that a hung loop
still answers, and reports that it hangs (R39, R41)."""

import contextlib
import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any, ClassVar, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, Info, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

MOST_CONNECTIONS = 32
CONNECTION_SECONDS = 15.0
_MOST_HEAD_BYTES = 16_384
_CLOSE_SECONDS = 0.1
"""A process that ends waits so long for this server: the work of a merge waits for its successor meanwhile."""
_NOT_STARTED = "not started"


class _Beat(NamedTuple):
    at: float
    busy: str
    within: float


class Health:
    """What the parts of a process say of themselves. Safe to call from any thread.

    A loop calls `heartbeat` each turn, also when it has nothing to do: idle beats, hung does not. Without a beat for
    `stale_after` seconds the process is not ready. Without one for `dead_after` seconds, or longer where the part has
    said that its turn may take longer, it is not alive: restart it."""

    def __init__(
        self,
        *,
        expected: Iterable[str] = (),
        stale_after: float = 15.0,
        dead_after: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stale_after = stale_after
        self._dead_after = dead_after
        self._clock = clock
        self._lock = threading.Lock()
        self._beats: dict[str, _Beat] = {}
        self._reasons: dict[str, str | None] = dict.fromkeys(expected, _NOT_STARTED)
        self._probes: dict[str, Callable[[], bool | str]] = {}
        self._notes: dict[str, str] = {}

    def heartbeat(self, name: str, busy: str = "", *, within: float = 0.0) -> None:
        """The loop `name` has just made a turn. `busy`: with what it may be for a while. No address in it. `within`:
        seconds that it may take until the next beat, where that is longer than `dead_after`."""
        with self._lock:
            self._beats[name] = _Beat(self._clock(), busy, within)

    def at_rest(self, name: str) -> None:
        """Part `name` has no work until its next heartbeat."""
        with self._lock:
            self._beats.pop(name, None)

    def set_ready(self, name: str, state: bool | str = True) -> None:
        """Part `name` is ready (True), is not (False), or is not for the reason given. No address in it."""
        with self._lock:
            self._reasons[name] = None if state is True else state or "not ready"

    def watch(self, name: str, probe: Callable[[], bool | str]) -> None:
        """Part `name` is as `probe` answers, as for `ready`, on each request. It is called from any thread."""
        with self._lock:
            self._probes[name] = probe

    def note(self, name: str, text: str) -> None:
        """What a person should know of part `name` although the process can do its work; empty: nothing."""
        with self._lock:
            self._notes[name] = text

    def notes(self) -> list[str]:
        with self._lock:
            return [f"{name}: {text}" for name, text in self._notes.items() if text]

    def unregister(self, name: str) -> None:
        """Part `name` has ended as it should and is no longer watched."""
        with self._lock:
            self._beats.pop(name, None)
            self._reasons.pop(name, None)

    def startup(self) -> tuple[bool, list[str]]:
        """Whether every part has begun, which it does without any server; from then on liveness shows what hangs."""
        with self._lock:
            missing = [
                name for name, reason in self._reasons.items() if reason == _NOT_STARTED and name not in self._beats
            ]
        return not missing, [f"{name}: {_NOT_STARTED}" for name in missing]

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether the process can do its work now, and what speaks against it."""
        with self._lock:
            reasons = [f"{name}: {reason}" for name, reason in self._reasons.items() if reason]
            reasons += self._silent(lambda _: self.stale_after)
            probes = dict(self._probes)
        states = ((name, probe()) for name, probe in probes.items())
        reasons += [f"{name}: {state or 'not ready'}" for name, state in states if state is not True]
        return not reasons, reasons

    def liveness(self) -> tuple[bool, list[str]]:
        """Whether the process is worth keeping. A part that is not ready is; one that hangs is not."""
        with self._lock:
            reasons = self._silent(lambda beat: max(self._dead_after, beat.within))
        return not reasons, reasons

    def _silent(self, bound: Callable[[_Beat], float]) -> list[str]:
        now = self._clock()
        return [
            f"{name}: no sign of life for {now - beat.at:.0f} s" + (f", busy with {beat.busy}" if beat.busy else "")
            for name, beat in self._beats.items()
            if now - beat.at > bound(beat)
        ]


class _PagesServer(ThreadingHTTPServer):
    """A thread a connection: so few of them at once, and each only for so long, whatever the client sends or reads."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._slots = threading.Semaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        deadline = threading.Timer(CONNECTION_SECONDS, self._end, [request])
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._slots.release()

    @staticmethod
    def _end(request: socket.socket) -> None:
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is worth no traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Server:
    """A running metrics and health server; `port` is the real one."""

    def __init__(self, registry: CollectorRegistry, health: Health, host: str, port: int) -> None:
        self._registry = registry
        self._collectors: list[Collector] = [
            ProcessCollector(registry=registry),
            PlatformCollector(registry=registry),
            GCCollector(registry=registry),
            _build_info(registry),
        ]
        handler = type("Handler", (_Handler,), {"registry": registry, "health": health})
        self._http = _PagesServer((host, port), handler)
        self.port: int = self._http.server_address[1]
        serve = partial(self._http.serve_forever, _CLOSE_SECONDS)
        self._thread = threading.Thread(target=serve, name="observability", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        for collector in self._collectors:
            self._registry.unregister(collector)


def _build_info(registry: CollectorRegistry) -> Info:
    found = Info("consent_relay_build", "The version of Consent Relay that this process runs.", registry=registry)
    found.info({"version": version("consent-relay")})
    return found


def serve_metrics(registry: CollectorRegistry, health: Health, host: str, port: int) -> Server:
    """Serve `registry` (the process's own metrics are added to it) and `health`. Port 0 takes a free one."""
    return Server(registry, health, host, port)


class _Head(io.BufferedIOBase):
    """The lines of a request, which end where it gets long: nothing beyond is read."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._left = _MOST_HEAD_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        line = self._file.readline(self._left if size is None or size < 0 else min(size, self._left))
        self._left -= len(line)
        return line

    def close(self) -> None:
        self._file.close()
        super().close()


class _Handler(BaseHTTPRequestHandler):
    registry: ClassVar[CollectorRegistry]
    health: ClassVar[Health]
    timeout = 10

    def setup(self) -> None:
        super().setup()
        self.rfile = _Head(self.rfile)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, content_type, encode(self.registry))
        elif path == "/healthz":
            self._state(*self.health.liveness())
        elif path == "/startupz":
            self._state(*self.health.startup())
        elif path == "/readyz":
            ok, reasons = self.health.readiness()
            self._state(ok, reasons, self.health.notes())
        else:
            self._answer(404, "text/plain; charset=utf-8", b"/metrics, /startupz, /healthz and /readyz are here\n")

    def _state(self, ok: bool, reasons: list[str], notes: Sequence[str] = ()) -> None:
        text = "".join(f"{line}\n" for line in (*(["ok"] if ok else reasons), *notes))
        self._answer(200 if ok else 503, "text/plain; charset=utf-8", text.encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """A scrape every few seconds is not worth a line."""
