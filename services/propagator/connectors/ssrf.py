"""Which hosts a webhook may be sent to: public ones, checked at the very address that is then called.

Checking a name and then letting the HTTP client resolve it again would leave a gap for a name server that
answers a public address first and a private one afterwards (DNS rebinding). Here the client's only resolver
is the one that checks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from propagator.errors import MisconfiguredError

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, looking through IPv6 forms that carry an IPv4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def url_error(url: str, *, allow_private: bool) -> str | None:
    """What is wrong with a target before anything is resolved, and the fix; None when nothing is."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "not a URL: write https://host/path"
    if parts.scheme not in ("https", "http") or not host:
        return "not an http(s) URL: write https://host/path"
    if parts.username is not None or parts.password is not None:
        return "a URL with a login shows up in logs: the signature is the proof of origin, leave the login out"
    if parts.fragment:
        return "a fragment is never sent: leave out everything from `#` on"
    if allow_private:
        return None
    if parts.scheme != "https":
        return "only https: a message names people (for a test on this machine set `allow_private: true`)"
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if is_public(str(literal)) else "a private address: use a public host, or set `allow_private: true`"


class PublicOnlyResolver(AbstractResolver):
    """Resolves a name and refuses it when any of its addresses is not public."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or _system_lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host, port)
        if not addresses or not all(is_public(address) for address in addresses):
            raise MisconfiguredError("private_target", "the host resolves to an address that is not public")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Holds nothing."""


async def _system_lookup(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
