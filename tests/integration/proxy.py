"""A TCP proxy whose cable can be cut: how the tests make one server unavailable to one client only."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable

Rewrite = Callable[[bytes], bytes]


class Proxy:
    """Forwards 127.0.0.1:<port> to `target`: cut() refuses all, freeze() moves nothing, heal() ends both.

    With `kafka=True` the broker's own address in its answers is replaced by the proxy's: a Kafka client
    leaves its bootstrap address at once for the advertised one, and would walk around a plain proxy.
    """

    def __init__(self, target: str, *, kafka: bool = False) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._kafka = kafka
        self._up = threading.Event()
        self._up.set()
        self._moving = threading.Event()
        self._moving.set()
        self._closed = threading.Event()
        self._links: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.2)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True, name=f"proxy-{self.port}").start()

    def cut(self) -> None:
        """Resets every connection and refuses new ones until heal()."""
        self._up.clear()
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Keeps every connection open and moves no byte: a network that swallows packets."""
        self._moving.clear()

    def heal(self) -> None:
        self._moving.set()
        self._up.set()

    def close(self) -> None:
        self._closed.set()
        self._moving.set()
        self.cut()
        self._listener.close()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            try:
                if not self._up.is_set():
                    raise ConnectionRefusedError
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._links |= {client, server}
            rewrite = self._advertise_me if self._kafka else None
            for source, sink, change in ((client, server, None), (server, client, rewrite)):
                threading.Thread(target=self._pump, args=(source, sink, change), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, rewrite: Rewrite | None) -> None:
        pending = b""
        with contextlib.suppress(OSError, ValueError):
            while True:
                readable, _, _ = select.select([source], [], [], 0.5)
                if self._closed.is_set():
                    break
                if not readable:
                    continue
                data = source.recv(65536)
                if not data:
                    break
                self._moving.wait()
                if rewrite is not None:
                    frames, pending = _frames(pending + data)
                    data = rewrite(frames)
                if data:
                    sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        with self._lock:
            self._links -= {source, sink}

    def _advertise_me(self, data: bytes) -> bytes:
        """In Metadata and FindCoordinator answers the port follows the host as a big-endian int32."""
        host = self._target[0].encode()
        return data.replace(host + self._target[1].to_bytes(4, "big"), host + self.port.to_bytes(4, "big"))


def _frames(data: bytes) -> tuple[bytes, bytes]:
    """Whole Kafka answers (int32 length in front) and the started one that is left over."""
    end = 0
    while len(data) - end >= 4:
        size = int.from_bytes(data[end : end + 4], "big")
        if len(data) - end - 4 < size:
            break
        end += 4 + size
    return data[:end], data[end:]
