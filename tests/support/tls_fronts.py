"""TLS in front of the servers that all tests share, which speak it not: a registry, a PostgreSQL."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.certificates import Identity

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@contextmanager
def registry_front(
    target: str, identity: Identity, *, user: str = "", password: str = "", clients: Path | None = None
) -> Iterator[str]:
    """The URL of a registry that answers 401 but to ``user``, if one is named, and that takes, if ``clients`` is given,
    none without a certificate of that authority."""
    url = urlsplit(target)
    expected = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}" if user else None

    class Forward(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if expected is not None and self.headers.get("Authorization") != expected:
                return self._answer(401, "application/json", b'{"error_code": 40101, "message": "Unauthorized"}')
            headers = {name: self.headers[name] for name in ("Content-Type", "Accept") if name in self.headers}
            behind = http.client.HTTPConnection(url.netloc, timeout=30)
            try:
                behind.request(self.command, self.path, body, headers)
                answer = behind.getresponse()
                return self._answer(answer.status, answer.headers.get_content_type(), answer.read())
            finally:
                behind.close()

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _forward

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that leaves in the handshake is what some tests are about."""

    server = Server((_HOST, 0), Forward)
    context = _context(identity)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://{_HOST}:{server.server_port}{url.path}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def postgres_front(port: int, identity: Identity) -> Iterator[int]:
    """The port of a PostgreSQL with ssl=on."""
    context = _context(identity)
    listener = socket.create_server((_HOST, 0))
    threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


_HOST = "127.0.0.1"


def _context(identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client, context, port), daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.suppress(OSError), client:
        if client.recv(len(_SSL_REQUEST), socket.MSG_WAITALL) != _SSL_REQUEST:
            return
        client.sendall(b"S")
        with (
            context.wrap_socket(client, server_side=True) as secured,
            socket.create_connection((_HOST, port)) as behind,
        ):
            _relay(secured, behind)


def _relay(client: ssl.SSLSocket, behind: socket.socket) -> None:
    while True:
        ready = [client] if client.pending() else select.select([client, behind], [], [])[0]
        for one, other in ((client, behind), (behind, client)):
            if one in ready:
                data = one.recv(65_536)
                if not data:
                    return
                other.sendall(data)
