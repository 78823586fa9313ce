"""The proxy that the documents show, by the real nginx: the shipped file with this machine's ports and certificates."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from local_stack.ports import free_port
from tests.support.certificates import Authority
from tests.support.debian import unpacked
from tests.support.deployed import ROOT
from tests.support.waiting import until

SHIPPED = ROOT / "deploy" / "proxy" / "consent-relay.conf"
NAMES = tuple(re.findall(r"server_name (\S+);", SHIPPED.read_text()))
OWN_NETWORK = "127.0.0.9"
"""The address here that counts as one of the operator's own network."""
_MAIN = """\
{user}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/consent-relay.conf;
}}
"""


@dataclass(frozen=True, kw_only=True)
class Nginx:
    """A configuration of the shipped file. ``port`` is where it answers, by TLS."""

    command: list[str]
    directory: Path
    port: int
    authority: Path

    def check(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.command, "-t"], capture_output=True, text=True, timeout=60, check=False)

    def client(self, name: str, *, source: str = "127.0.0.1") -> httpx.Client:
        """Of the server with the name; as if at the address of this machine."""
        context = ssl.create_default_context(cafile=str(self.authority))
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Host": name},
            # httpx takes the name of the TLS connection from this extension of a request.
            transport=_Named(name, verify=context, local_address=source),
            timeout=30.0,
        )


class _Named(httpx.HTTPTransport):
    """Asks for one name, wherever it connects to."""

    def __init__(self, name: str, *, verify: ssl.SSLContext, local_address: str) -> None:
        super().__init__(verify=verify, local_address=local_address)
        self._name = name

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": self._name}
        return super().handle_request(request)


def configured(
    directory: Path, *, api: str, gate: str, status: str, webhooks: str | None = None, user: str = ""
) -> Nginx:
    """``api``, ``gate``, ``status``: host:port of the one instance of each; ``webhooks``: of an API for these alone, if
    that is another; ``user``: of the workers, where root starts
    it."""
    program = unpacked("nginx", package="nginx", directory=directory)
    authority = Authority.create(directory, "authority")
    identity = authority.sign("proxy", others=NAMES)
    port = free_port()
    text = SHIPPED.read_text()
    for pattern, here in (
        (r"server api-1\.internal:8080", f"server {api}"),
        (r"    server api-2\.internal:8080.*\n", ""),
        (r"server webhooks\.internal:8080", f"server {webhooks or api}"),
        (r"server gate-1\.internal:8082", f"server {gate}"),
        (r"    server gate-2\.internal:8082.*\n", ""),
        (r"server status\.internal:8083", f"server {status}"),
        (r"allow 10\.0\.0\.0/8;", f"allow {OWN_NETWORK};"),
        (r"listen 443 ", f"listen 127.0.0.1:{port} "),
        (r"/var/log/nginx/", f"{directory}/"),
        (r"/etc/nginx/tls/tls\.crt", str(identity.certificate)),
        (r"/etc/nginx/tls/tls\.key", str(identity.key)),
    ):
        text, count = re.subn(pattern, here, text)
        assert count, pattern
    (directory / "consent-relay.conf").write_text(text)
    (directory / "nginx.conf").write_text(_MAIN.format(directory=directory, user=user and f"user {user};"))
    command = [program, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "start.log")]
    return Nginx(command=command, directory=directory, port=port, authority=authority.file)


@contextmanager
def running(nginx: Nginx) -> Iterator[Nginx]:
    process = subprocess.Popen(nginx.command)
    try:
        until(lambda: _answers(nginx), seconds=30)
        yield nginx
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(nginx: Nginx) -> bool:
    try:
        with nginx.client(NAMES[0]) as client:
            return client.get("/").status_code == 404
    except httpx.TransportError:
        return False
